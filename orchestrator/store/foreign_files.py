"""Whether a local place belongs to studies: other programs' files, and other commands', have no place among them."""

import os

from orchestrator.errors import InputError
from orchestrator.store import layout


def refuse_inside(option: str, place: str | os.PathLike[str], storage: str | None = None) -> None:
    """Refuse to write to a local file or folder that is, or lies in, a study's directory; links are followed.

    Args:
        option: What names the place, with its value, for the message.
        place: The file or folder; it need not be there.
        storage: A folder of studies in which nothing else is written either, unless the user works in there.

    Raises:
        InputError: it is a place of studies.
    """
    real = os.path.realpath(place)
    if (study := _study_around(real)) is not None:
        raise InputError(f"{option}: lies in the directory of a study, {study}; give a place elsewhere")
    if storage is None or "://" in storage:
        return
    folder = os.path.realpath(storage)
    if _inside(real, folder) and not _inside(os.path.realpath(os.curdir), folder):
        raise InputError(f"{option}: lies in the folder of the studies, {storage}; give a place elsewhere")


def _study_around(place: str) -> str | None:
    """The directory of the study that a place is or lies in."""
    while not os.path.isfile(os.path.join(place, layout.STUDY)):
        place, before = os.path.dirname(place), place
        if place == before:
            return None
    return place


def _inside(place: str, folder: str) -> bool:
    return os.path.commonpath([place, folder]) == folder
