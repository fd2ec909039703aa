"""The table of a study as its report reads it: checked, with the types of this version, sorted."""

from collections import Counter
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import InputError, one_line
from orchestrator.store import layout
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Kind, State

HEAD = ("trial", "kind", "arm", "block", "state", "reason", "seed", "epoch")
NUMBERED, ALWAYS = ("block", "seed", "epoch"), ("trial", "kind", "state", "seed", "epoch")
"""Columns that say which run a row belongs to; without the first and the last there is no table."""


def read_table(store: Store) -> pa.Table:
    """The table of a study, sorted by trial and epoch; raises as ``read_results``."""
    address = store.path(layout.TABLE)
    content = store.objects.read(layout.TABLE)
    if content is None:
        raise InputError(f"{address}: no table yet; a launch of the study writes it when it ends or is stopped")
    try:
        table = _parquet(content)
    except (pa.ArrowException, OSError) as error:
        reason = one_line(error)[:120]
        raise InputError(f"{address}: damaged ({reason}); the same launch again writes it anew") from error
    try:
        return shaped(table)
    except (pa.ArrowException, ValueError) as error:
        reason = one_line(error)[:200]
        raise InputError(f"{address}: no table of results ({reason}); the same launch again writes it anew") from error


def _parquet(content: bytes) -> pa.Table:
    """The table in a file's content, read by this thread alone.

    Arrow's own threads may still hold the content when Python ends, and abort the process then (``pq.read_table``).
    """
    return pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read(use_threads=False)


def shaped(table: pa.Table) -> pa.Table:
    """The table, sorted by trial and epoch, with the types of its head as this version writes them.

    Raises:
        ValueError: it is no such table.
    """
    if repeated := [name for name, times in Counter(table.column_names).items() if times > 1]:
        raise ValueError(f"it has the column {repeated[0]} twice")
    missing = [name for name in HEAD if name not in table.column_names and name not in ("arm", "block")]
    if missing:
        raise ValueError(f"it lacks the columns {', '.join(missing)}")
    for name in (name for name in HEAD if name in table.column_names):
        column = table.column(name).cast(pa.int64() if name in NUMBERED else pa.string())
        if name in ALWAYS and column.null_count:
            raise ValueError(f"{name} is missing in some row")
        table = table.set_column(table.column_names.index(name), name, column)
    for name, known in (("state", list(State)), ("kind", get_args(Kind))):
        if wrong := set(table.column(name).to_pylist()) - set(known):
            raise ValueError(f"{name} {min(wrong)!r} is none of {', '.join(known)}")
    return table.sort_by([("trial", "ascending"), ("epoch", "ascending")])
