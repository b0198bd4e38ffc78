"""Reads and validates parameters of requests; raises 400 for invalid ones."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web

from service.http.problems import bad_request
from service.model.contacts import ig_id

END = r"$(?!\n)"  # in Python `$` alone would let a newline follow
_VISIBLE = rf"^[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?{END}"
_DIGITS = re.compile(r"[0-9]{1,6}", re.ASCII)
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False, "": False}

LocationId = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=_VISIBLE)]


def location(request: web.Request) -> str:
    """Read `locationId`; 400 if it is missing or not readable."""
    try:
        return msgspec.convert(request.query.get("locationId"), LocationId)
    except msgspec.ValidationError:
        raise bad_request("locationId is missing or not readable.") from None


def whole_number(request: web.Request, name: str, default: int, most: int) -> int:
    """Read a number from 1 to `most`; 400 if it is anything else."""
    given = request.query.get(name, str(default))
    number = int(given) if _DIGITS.fullmatch(given) else 0
    if not 1 <= number <= most:
        raise bad_request(f"{name} is a whole number from 1 to {most}.")
    return number


def boolean(request: web.Request, name: str) -> bool:
    """Read true or false, false if it is missing; 400 if it is anything else."""
    value = _BOOLEANS.get(request.query.get(name, "").lower())
    if value is None:
        raise bad_request(f"{name} is true or false.")
    return value


def moment(request: web.Request, name: str) -> datetime | None:
    """Read an RFC 3339 time; None if it is missing, 400 if it is anything else."""
    given = request.query.get(name)
    if not given:
        return None
    try:
        found = msgspec.convert(given, datetime)
    except msgspec.ValidationError:
        found = None
    if found is None or found.tzinfo is None:
        raise bad_request(f"{name} is a time as RFC 3339 has it, with its zone.")
    return found


def checked_id(given: str, name: str = "igUserId") -> str:
    """Return an id; 400 if it is not 1 to 32 digits."""
    found = ig_id(given)
    if found is None:
        raise bad_request(f"{name} is 1 to 32 digits.")
    return found


def account_id(given: str) -> str:
    """Return an account's id; 400 if it is not 1 to 32 digits."""
    return checked_id(given, "igAccountId")
