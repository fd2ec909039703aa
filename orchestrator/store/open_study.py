"""Opening the directory of a study that was launched, for the commands that read it."""

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import InputError, one_line
from orchestrator.store.kept_study import KeptStudy
from orchestrator.store.records import Store


def open_study(storage: str, name: str) -> tuple[Store, KeptStudy]:
    """The directory of a study and what it says the study is.

    Raises:
        InputError: there is no such study, it is damaged or of a newer version, or the storage cannot be used.
    """
    with storage_errors(f"--storage {storage}"):
        store = Store(storage, name)
        return store, store.launched_study()


@contextmanager
def storage_errors(option: str) -> Iterator[None]:
    """Raise InputError in place of OSError: what a storage or a folder cannot do, by the option that names it."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{option}: {one_line(error)}") from error
