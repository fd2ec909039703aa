"""What is given to the functions of ``orchestrator``: another type than theirs is a mistake told in a line."""

import os
from collections.abc import Iterable
from reprlib import repr as short

from orchestrator.errors import InputError


def path_text(value: object, what: str) -> str:
    """The text of a name, a path or an address, ``~`` as the home folder.

    Args:
        value: What was given.
        what: What it is, for the message.

    Raises:
        InputError: It is none.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise InputError(f"{what}: expected a name or a path, got {short(value)}")
    if "\0" in text:
        raise InputError(f"{what}: {short(text)} holds a zero byte, which no path does")
    return os.path.expanduser(text)


def names(value: object, what: str) -> tuple[str, ...]:
    """Several names, of which one may stand alone; none where there is no value.

    Raises:
        InputError: They are none.
    """
    if value is None:
        return ()
    several = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (value,)
    for name in several:
        if not isinstance(name, str):
            raise InputError(f"{what}: expected a name or several, got {short(name)}")
    return several
