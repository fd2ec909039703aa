"""A study's directory -> its trials as they may be shown, and what statistics are made from.

The directories of the trials tell how each of them stands. Which of them belong to the study as its file now reads, and
which arm each is a run of, the last launch has told in the table; trials newer than the table tell it themselves.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa

from orchestrator.api.trial import Trial
from orchestrator.errors import InputError, one_line
from orchestrator.report.source import Results, results_of
from orchestrator.report.table_reading import read_table, shaped
from orchestrator.store import layout
from orchestrator.store.addresses import redacted
from orchestrator.store.kept_study import KeptStudy
from orchestrator.store.lease import holder
from orchestrator.store.masking import from_env_of, shown, stage_of
from orchestrator.store.objects import DamagedError
from orchestrator.store.records import Store
from orchestrator.store.results_table import table
from orchestrator.store.stage_plan import STAGES, StagePlan
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import objectives_of

WAITING = "no launch is at work; the same launch again goes on with it"


@dataclass(frozen=True)
class ReadStudy:
    """What a study's directory holds, read once."""

    trials: tuple[Trial, ...]
    """Without the prefixes that runs share."""
    results: Results
    running: bool
    """Whether a launch is at work."""
    warnings: tuple[str, ...]
    """A line for each damaged file, and what is done about it."""


@contextmanager
def usable(what: str) -> Iterator[None]:
    """Raise InputError in place of OSError: what a storage cannot do, named as the user names the study."""
    try:
        yield
    except OSError as error:
        raise InputError(redacted(f"{what}: {one_line(error)}")) from error


def read_directory(store: Store, kept: KeptStudy) -> ReadStudy:
    """Read a study.

    Raises:
        InputError: A damaged plan or specification, or the storage cannot be used.
    """
    with usable(store.address):
        warnings: list[str] = []
        placed, running = list(_placed(store, warnings)), holder(store.objects) is not None
        records = [record if running else _waiting(record) for record in placed]
        masks = [from_env_of(r.planned, kept.from_env, _plan_of(r, store)) for r in records] if kept.from_env else []
        visible = [shown(r, env) for r, env in zip(records, masks, strict=True)] if masks else records
        objectives = objectives_of(kept.specification)
        trials = tuple(
            Trial.of(record, seen, objectives, store, env)
            for record, seen, env in zip(records, visible, masks or [{}] * len(records), strict=True)
            if record.planned.kind != "prefix"
        )
        results = results_of(store, kept, shaped(table(visible)) if visible else _no_rows())
        return ReadStudy(trials, results, running, (*warnings, *dict.fromkeys(store.warnings)))


def _placed(store: Store, warnings: list[str]) -> Iterator[Record]:
    """The records that belong to the study, runs of comparisons named as the last launch has told."""
    places = _places(store, warnings)
    written = store.objects.written(layout.TABLE) or 0.0
    for record in store.records():
        if record.key in places:
            arm, block = places[record.key]
            compared = record.planned.kind in STAGES
            yield replace(record, planned=replace(record.planned, arm=arm, block=block)) if compared else record
        elif not places or (store.last_write(record.key) or 0.0) > written:
            yield record


def _places(store: Store, warnings: list[str]) -> dict[str, tuple[str | None, int | None]]:
    """Arm and block of each trial of the table, by its key; nothing where there is no table that can be read."""
    if not store.objects.is_file(layout.TABLE):
        return {}
    try:
        heads = read_table(store)
    except InputError as error:
        warnings.append(str(error))
        return {}
    names = [name for name in ("trial", "arm", "block") if name in heads.column_names]
    rows = heads.select(names).to_pylist()
    return {str(row["trial"]): (row.get("arm"), row.get("block")) for row in rows}


def _waiting(record: Record) -> Record:
    """The record as it stands while no launch is at work."""
    return record.ended(State.INTERRUPTED, record.reason or WAITING) if record.state is State.RUNNING else record


def _plan_of(record: Record, store: Store) -> StagePlan | None:
    stage = stage_of(record.planned)
    try:
        return StagePlan.read(store.objects, stage) if stage in STAGES else None
    except DamagedError as error:
        raise InputError(f"{error}; the same launch again writes it anew") from error


def _no_rows() -> pa.Table:
    """The table of a study none of whose trials has begun."""
    texts, numbers = ("trial", "kind", "arm", "state", "reason"), ("block", "seed", "epoch")
    kinds = {name: pa.string() for name in texts} | {name: pa.int64() for name in numbers}
    return pa.table({name: pa.array([], kind) for name, kind in kinds.items()})
