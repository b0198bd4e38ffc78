"""Estimates how long statements take from the recent ones."""

from __future__ import annotations

SHORTEST_S, LONGEST_S = 0.5, 0.7  # target duration of a statement while more items wait
_KEEPS, _KEEPS_WHEN_FASTER = 0.8, 0.5  # weight of the earlier statements when one is added
_FIXED_PART_MATTERS = 0.7  # share of the longest duration: beyond it, fewer items would not help
_FEW = 50.0  # items that a statement can always hold, even if no recent one had as many
_STEADY = 0.3  # with less variation, item counts do not show the cost per item


class Pace:
    """Fits a fixed cost and a cost per item to recent statements, weighted to the latest.

    A statement that takes twice as long as expected starts a new fit, since older durations no
    longer apply once the database has slowed down. `most_items` is how many items the next
    statement should hold at most. Every caller asks for it, so it is computed once per statement.
    """

    def __init__(self, max_items: int) -> None:
        self._max_items = max_items
        self._sums = (0.0, 0.0, 0.0, 0.0, 0.0)
        self._fixed_s = 0.0
        self._item_s = 0.0
        self._largest = _FEW
        self.most_items = self._fitting_items()

    def takes_s(self, items: float) -> float:
        """Estimate the duration of a statement of this many items."""
        return self._fixed_s + self._item_s * items

    def note_done(self, items: int, took_s: float) -> None:
        """Add a completed statement."""
        expected_s = self.takes_s(items)
        if took_s > 2 * expected_s:
            keeps = 0.0
        else:
            keeps = _KEEPS if took_s > expected_s / 2 else _KEEPS_WHEN_FASTER
        self._largest = max(items, min(self._largest, max(_FEW, 0.9 * self._largest)))
        self._add(items, took_s, keeps)

    def note_too_long(self, items: int, took_s: float) -> None:
        """Add a statement that timed out, as if half as many items had taken this long."""
        self._largest = max(1.0, items / 2)
        self._add(self._largest, took_s, 0.0)

    def _fitting_items(self) -> int:
        """Compute the number that the fit allows.

        It is no more than would be in time at the cost per item of the largest recent statement.
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
        self.most_items = self._fitting_items()
