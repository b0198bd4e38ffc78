"""What PostgreSQL's refusals may say: names of constraints, columns and tables, never a value."""

from __future__ import annotations

from asyncpg import PostgresError, RaiseError

_NAMES = ("constraint_name", "column_name", "table_name")


def describe_refusal(error: BaseException) -> str:
    """Describe an error of the driver by its class, its SQLSTATE and the names it carries.

    The text of an error may quote the row: DETAIL does, and so does the message of a failed cast.
    What our own statements raise is shown whole.
    """
    if not isinstance(error, PostgresError):
        return f"{type(error).__name__} {error}".strip()
    if isinstance(error, RaiseError):
        return str(error.args[0])
    named = [
        f"{name.removesuffix('_name')} {value}"
        for name in _NAMES
        if (value := getattr(error, name, None))
    ]
    return " ".join([type(error).__name__, error.sqlstate or "", *named]).replace("  ", " ").strip()
