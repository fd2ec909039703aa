"""Whose an error of the operating system is, and what a launch knows while its storage is away."""

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import InputError, MachineError, StorageError, one_line
from orchestrator.launch.stages import Stages
from orchestrator.store.addresses import redacted
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record, State


@contextmanager
def refusals(storage: str) -> Iterator[None]:
    """Raise InputError in place of OSError: one line that says whose it is."""
    try:
        yield
    except StorageError as error:
        raise InputError(redacted(f"--storage {storage}: cannot be used: {one_line(error)}")) from error
    except MachineError as error:
        raise InputError(one_line(error)) from error
    except OSError as error:
        raise InputError(f"this machine: {one_line(error)}") from error


def problem_of(error: OSError) -> str:
    """Why a launch that had begun goes no further."""
    return f"{'the storage failed: ' if isinstance(error, StorageError) else ''}{one_line(error)}"


def latest_records(store: Store, stages: Stages) -> tuple[list[Record], OSError | None]:
    """The study's records after its last trial; where the storage cannot be read, what the launch knows, and why."""
    known = {record.key: record for record in stages.known}
    try:
        kept = {record.key: record for record in store.records()}
        if gone := known.keys() - kept.keys():
            raise StorageError(f"{store.address}: {len(gone)} of {len(known)} trials are no longer there")
    except OSError as error:
        return list(known.values()), error
    # no trial runs any more: where its record says so, its verdict could not be written
    latest = [known.get(key, record) if record.state is State.RUNNING else record for key, record in kept.items()]
    return stages.belonging(latest), None
