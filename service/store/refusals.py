"""Describes PostgreSQL's refusals by constraint, column and table, never by a value."""

from __future__ import annotations

import asyncpg

OURS = "IG001"  # the SQLSTATE that our migrations raise


def describe_refusal(error: BaseException) -> str:
    """Describe a refusal by its constraint, column or table.

    An error can quote the row: in DETAIL, and in the message of a failed cast. Only errors that
    our own statements raise are shown whole.
    """
    sqlstate = getattr(error, "sqlstate", None)
    if not isinstance(error, asyncpg.PostgresError):
        return f"{type(error).__name__} {error}".strip()
    if sqlstate == OURS:
        return str(error.args[0])
    return f"{_what(error)} ({type(error).__name__} {sqlstate or ''})"


def _what(error: asyncpg.PostgresError) -> str:
    table, column, constraint = (
        str(getattr(error, f"{kind}_name", None) or "")
        for kind in ("table", "column", "constraint")
    )
    where = f"the table {table}" if table else "PostgreSQL"
    if constraint:
        return f"{where} refuses it: its constraint {constraint} does not hold"
    if column and isinstance(error, asyncpg.NotNullViolationError):
        return f"{where} refuses it: its column {column} must have a value"
    if column:
        return f"{where} refuses it: its column {column} can't hold it"
    if isinstance(error, asyncpg.StringDataRightTruncationError):
        return f"{where} refuses it: a value is too long for its column"
    if isinstance(error, asyncpg.RaiseError):
        return f"{where} refuses it: a trigger or a function raised an error"
    return f"{where} refuses it"


def without_values(error: BaseException) -> BaseException:
    """Remove the parts of an error that can quote a row, since a traceback may print them."""
    if isinstance(error, asyncpg.PostgresError):
        error.args = (describe_refusal(error),)
        for part in ("message", "detail", "hint", "context", "query", "internal_query"):
            if getattr(error, part, None):
                setattr(error, part, None)
    elif isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        error.args = ("an argument of a statement has the wrong type",)
    return error
