"""Points in time as people write them."""

import re
from contextlib import suppress
from datetime import datetime

EXAMPLE = "seconds since 1970 or a date like 2027-01-15T08:00"

EARLIEST = 946_684_800
"""The year 2000: a smaller number of seconds is a year or a date without its dashes."""


def moment(text: str) -> float:
    """A point in time, in seconds since 1970; a date without an offset is local time.

    Raises:
        ValueError: it is none; says what would be one.
    """
    with suppress(ValueError, OverflowError):
        number = re.fullmatch(r"[0-9]{1,11}(\.[0-9]*)?", text)
        seconds = float(text) if number else datetime.fromisoformat(text).timestamp()
        if seconds >= EARLIEST:
            return seconds
    raise ValueError(f"must be {EXAMPLE}, got {text[:40]!r}")
