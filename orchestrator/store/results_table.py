"""Records -> ``results.parquet`` (one row per trial and epoch) and ``best.yaml`` (a trial's configuration)."""

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from orchestrator.store import layout
from orchestrator.store.commands import PYTHON, finding_parts, module
from orchestrator.store.flat_config import flatten
from orchestrator.store.kept_weights import with_kept_weights
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record
from orchestrator.studyfile import Objective
from trainable.configfile.node import Scalar
from trainable.configfile.trees import escaped, write_yaml
from trainable.suppression.unused import without_unused

Row = dict[str, Scalar]
INHERITED = "inherited"
"""Key of the table's metadata."""
_HEIRS: TypeAdapter[dict[str, tuple[str, int]]] = TypeAdapter(dict[str, tuple[str, int]])
PARAM, PICK = "param.", "pick."
"""What the names of the columns of settings and of picks begin with."""


def table(records: Sequence[Record]) -> pa.Table:
    """One row per trial and epoch.

    Columns: ``trial``, ``kind``, ``arm`` and ``block`` (of a comparison), ``state``, ``reason``, ``seed``, ``epoch``,
    ``param.<path>`` for every setting, ``pick.<domain>`` for what was picked from each domain (an option by its label,
    the option null as ``null``), then the metrics by their names; wall-clock times end in ``_seconds``. What a trial
    does not have is null. The metadata hold which trials began with a prefix (`read_inherited`): as a column that would
    tell a study that shares prefixes from one that does not, whose rows are the same.
    """
    rows = [row for record in records for row in _rows(record)]
    names = dict.fromkeys(["trial", "kind", "arm", "block", "state", "reason", "seed", "epoch"])
    for prefix in (PARAM, PICK):
        names |= dict.fromkeys(sorted({name for row in rows for name in row if name.startswith(prefix)}))
    names |= dict.fromkeys(name for row in rows for name in row)
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    heirs = {r.key: (r.planned.prefix, r.planned.inherited) for r in records if r.planned.prefix and r.epochs}
    return pa.table(columns, metadata={INHERITED: json.dumps(heirs)} if heirs else None)


def read_inherited(table: pa.Table) -> dict[str, tuple[str, int]]:
    """The prefix that each heir of a table began with, and the epochs that it took over, by the heir's key."""
    content = (table.schema.metadata or {}).get(INHERITED.encode())
    return {} if content is None else _HEIRS.validate_json(content)


def write_table(store: Store, records: Sequence[Record], outdate: Callable[[], object] = lambda: None) -> str:
    """Write ``results.parquet`` of records as they may be shown; returns its address.

    Where it differs from the one that is there, ``outdate`` is called before: after a kill in between nothing that was
    made from that one is taken for up to date.
    """
    buffer = io.BytesIO()
    pq.write_table(table(records), buffer, write_page_checksum=True)
    if store.objects.read(layout.TABLE) != buffer.getvalue():
        outdate()
        store.write_bytes(layout.TABLE, buffer.getvalue())
    return store.path(layout.TABLE)


def write_best(
    store: Store, record: Record, study: str, objective: Objective, threads: int, ranks: Mapping[str, int] | None = None
) -> str:
    """Write ``best.yaml``; returns the command that runs it alone.

    With its threads, and with its ranks where it had several (as the option that asks for them): they decide the last
    bits.
    """
    place = store.path(layout.BEST)
    options = {name: str(number) for name, number in {**(ranks or {}), "--threads": threads}.items()}
    if "://" in place:  # to be copied first
        place = layout.BEST
    head = (
        f"# {record.key} of study {study}: {objective.metric} = {record.epochs[-1][objective.metric]:.6g} after epoch "
        f"{len(record.epochs)}\n# Run it alone:  "
        f"{finding_parts(module('trainable', place, options=options, python=PYTHON), record.planned.config)}\n"
    )
    config = without_unused(with_kept_weights(store, record.planned.config))
    store.write_text(layout.BEST, head + write_yaml(escaped(config)))
    return finding_parts(module("trainable", place, options=options), record.planned.config)


def _rows(record: Record) -> Iterable[Row]:
    config = dict(record.planned.config)
    seed = int(str(config.pop("seed")))
    planned = record.planned
    own = planned.kind != "prefix"  # that is of no arm, and has no suppression whose lack would tell it from others
    if not own:
        config.pop("suppression", None)
    head: Row = {"trial": record.key, "kind": planned.kind}
    head |= {"arm": planned.arm if own else None, "block": planned.block if own else None}
    head |= {"state": record.state.value, "reason": record.reason, "seed": seed}
    head |= {PARAM + name: value for name, value in flatten(config).items()}
    # the null of a column says that the trial does not have the domain
    head |= {PICK + name: "null" if value is None else value for name, value in (planned.picks or {}).items()}
    for epoch, metrics in enumerate(record.epochs, start=1):
        yield {**head, "epoch": epoch, **metrics}
    if not record.epochs:  # a trial that failed before its first epoch still has its row
        yield {**head, "epoch": 0}


def _column(values: Sequence[Scalar]) -> pa.Array:
    """A column of one type; where trials differ in type (a number here, a name there) all become text.

    So do whole numbers that no column holds.
    """
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int} and any(abs(int(value)) >= 2**63 for value in values if value is not None):
        values = [None if value is None else str(value) for value in values]
    if len(kinds) > 1:
        common = float if kinds == {int, float} else str
        return pa.array([None if value is None else common(value) for value in values])
    return pa.array(values, None if kinds else pa.string())  # a column of nulls alone would have no type
