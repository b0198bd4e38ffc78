"""How long statements take, learnt from those that ran."""

from __future__ import annotations

SHORTEST_S, LONGEST_S = 0.5, 0.7  # what a statement should take while there is more to do
_KEEPS, _KEEPS_WHEN_FASTER = 0.8, 0.5  # of what was learnt before, with each statement
_FIXED_PART_MATTERS = 0.7  # of the longest: then fewer items would not make it shorter
_FEW = 50.0  # items that a statement may hold although none of late held so many
_STEADY = 0.3  # items that vary by less say little about what each costs


class Pace:
    """Fits a fixed part and a part for each item to the statements seen, the latest most.

    A statement that took twice as long as expected begins a new fit: what was before the database
    slowed down says nothing any more.
    """

    def __init__(self, max_items: int) -> None:
        self._max_items = max_items
        self._sums = (0.0, 0.0, 0.0, 0.0, 0.0)
        self._fixed_s = 0.0
        self._item_s = 0.0
        self._largest = _FEW

    def takes_s(self, items: float) -> float:
        """How long a statement of so many items is likely to take."""
        return self._fixed_s + self._item_s * items

    def note_done(self, items: int, took_s: float) -> None:
        """Learn from a statement that ended well."""
        expected_s = self.takes_s(items)
        if took_s > 2 * expected_s:
            keeps = 0.0
        else:
            keeps = _KEEPS if took_s > expected_s / 2 else _KEEPS_WHEN_FASTER
        self._largest = max(items, min(self._largest, max(_FEW, 0.9 * self._largest)))
        self._add(items, took_s, keeps)

    def note_too_long(self, items: int, took_s: float) -> None:
        """Learn from a statement that was given up: half as many may have taken so long."""
        self._largest = max(1.0, items / 2)
        self._add(self._largest, took_s, 0.0)

    @property
    def most_items(self) -> int:
        """How many items the next statement should hold at most.

        So many as the fit allows, and not more than would be in time if each item cost as much
        as those of the largest statement lately.
        """
        aim_s = min(LONGEST_S, max(SHORTEST_S, 4 * self._fixed_s))
        most = self._largest * max(1.0, aim_s / max(self.takes_s(self._largest), 1e-6))
        if self._item_s > 0 and self._fixed_s < _FIXED_PART_MATTERS * LONGEST_S:
            most = min(most, (aim_s - self._fixed_s) / self._item_s)
        return max(1, min(self._max_items, int(most)))

    def _add(self, items: float, took_s: float, keeps: float) -> None:
        new = (1.0, items, took_s, items * items, items * took_s)
        self._sums = tuple(keeps * old + one for old, one in zip(self._sums, new, strict=True))  # type: ignore[assignment]  # five of them
        weight, *sums = self._sums
        mean, mean_s, square, product = (each / weight for each in sums)
        spread = square - mean * mean + (_STEADY * mean) ** 2
        slope = (product - mean * mean_s) / spread if spread > 0 else 0.0
        self._item_s = min(max(slope, 0.0), mean_s / max(mean, 1.0))
        self._fixed_s = mean_s - self._item_s * mean
