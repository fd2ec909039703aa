"""The files of a supplement and the archive that holds them; equal files give equal archives, byte for byte.

Whatever an environment variable gave is masked as everywhere: what the table, the plans and the study file show is what
the file of the study says.
"""

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.report.pages.document import Document, Table
from orchestrator.report.pages.rendering import render_table
from orchestrator.report.source import Results
from orchestrator.report.supplement.checklist import checklist
from orchestrator.report.supplement.methods import methods_latex, methods_text
from orchestrator.report.supplement.tables import compute_table, hyperparameter_table
from orchestrator.report.supplement.traceability import numbers, sources, statistics
from orchestrator.report.table_reading import HEAD
from orchestrator.store import layout
from orchestrator.store.addresses import redacted
from orchestrator.store.kept_study import KeptStudy
from orchestrator.store.masking import shown_best
from orchestrator.store.records import Store
from orchestrator.store.results_table import PARAM, PICK
from trainable.configfile.mistakes import ConfigError
from trainable.configfile.trees import write_yaml

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The date of every file: of another one the archive would not be equal."""
_README = """Supplement of study {study}

methods.txt, methods.tex    a paragraph for the paper: what was trained, compared and tested
hyperparameters.csv, .tex   every setting: fixed, searched or compared, with its values
compute.csv, .tex           runs, epochs, hours, machines
checklist.md                answers to the questions of a reproducibility checklist, and what they rest on
statistics.csv              every difference of the report in full digits, with the runs that it is of
numbers.csv                 every cell of every table of the report
sources.csv                 for every table, figure and sentence: which columns and rows of {table} it is of
{table}             a row per run and epoch
results_last_epoch.csv      the last epoch of every run
study.yaml, {best}       the study and its best configuration; values of environment variables by their names
plans.csv, {plans}      what each comparison planned before its first run, and the hash of it
versions.csv                versions, commit and command of every launch; fingerprints of the data
"""


def supplement(store: Store, results: Results, document: Document, metrics: Sequence[str]) -> bytes:
    """The archive.

    Raises:
        InputError: ``study.json`` is damaged; ``OSError``: the storage cannot be used.
    """
    return zipped(_files(store, store.launched_study(), results, document, metrics))


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    """An archive of some files, in the order of their names."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, EARLIEST)
            entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
            archive.writestr(entry, files[name])
    return stream.getvalue()


def comma_separated(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as text."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(rows)
    return stream.getvalue()


def _files(
    store: Store, kept: KeptStudy, results: Results, document: Document, metrics: Sequence[str]
) -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {
        "README.txt": _README.format(study=results.study, table=layout.TABLE, best=layout.BEST, plans=layout.plan("*")),
        "methods.txt": methods_text(results),
        "methods.tex": methods_latex(results),
        "checklist.md": checklist(results),
        "statistics.csv": comma_separated(*statistics(results, metrics)),
        "numbers.csv": comma_separated(*numbers(document)),
        "sources.csv": comma_separated(*sources(results, document, metrics)),
        "study.yaml": redacted(write_yaml(kept.specification)),
        "versions.csv": comma_separated(("launch", "what", "value"), _versions(kept, results)),
        layout.TABLE: _parquet(results.table),
        "results_last_epoch.csv": _last_epochs(results),
    }
    for name, table in (("hyperparameters", hyperparameter_table(results)), ("compute", compute_table(results))):
        files |= {f"{name}.csv": _of_table(table), f"{name}.tex": render_table(table)}
    files |= _plans(results)
    if (best := store.objects.read(layout.BEST)) is not None:
        with suppress(ConfigError):  # damaged: the same launch again writes it anew
            files[layout.BEST] = redacted(shown_best(best.decode(errors="replace"), kept.from_env))
    return files


def _of_table(table: Table) -> str:
    return comma_separated(table.heads, ([cell.text for cell in row] for row in table.rows))


def _plans(results: Results) -> dict[str, str]:
    """The plans as they may be shown, and their hashes, which are those of the plans themselves."""
    if not results.plans:
        return {}
    rows = [
        (s, results.plan_hashes.get(s, ""), p.design, p.baseline, len(p.arms), " ".join(map(str, p.seeds)),
         "; ".join(p.earlier))
        for s, p in results.plans.items()
    ]  # fmt: skip
    heads = ("stage", "hash", "design", "baseline", "arms", "seeds", "plans that it replaced")
    files = {layout.plan(s): json.dumps(asdict(p), indent=1, sort_keys=True) + "\n" for s, p in results.plans.items()}
    return {**files, "plans.csv": comma_separated(heads, rows)}


def _versions(kept: KeptStudy, results: Results) -> Iterable[tuple[str, str, str]]:
    yield "", "study id", kept.id
    for section, digest in sorted(kept.data.items()):
        yield "", f"data fingerprint of {section}", digest
    for number, launch in enumerate(results.origin.launches, start=1):
        yield str(number), "command", launch.command
        yield str(number), "commit", launch.commit + (" with changes that are not committed" if launch.dirty else "")
        yield from ((str(number), name, version) for name, version in sorted(launch.versions.items()))


def _sorted_columns(table: pa.Table) -> list[str]:
    """Head, settings, picks, metrics; each sorted but the head."""
    rest = sorted(name for name in table.column_names if name not in HEAD)
    groups = [[name for name in rest if name.startswith(prefix)] for prefix in (PARAM, PICK)]
    metrics = [name for name in rest if not name.startswith((PARAM, PICK))]
    return [*(name for name in HEAD if name in table.column_names), *groups[0], *groups[1], *metrics]


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table.select(_sorted_columns(table)), buffer)
    return buffer.getvalue()


def _last_epochs(results: Results) -> str:
    """A row per run: of one without an epoch its head alone."""
    table = results.table
    keys = table.column("trial").to_pylist()
    last = [at for at, key in enumerate(keys) if at + 1 == len(keys) or keys[at + 1] != key]
    names = _sorted_columns(table)
    rows = table.select(names).take(pa.array(last, pa.int64())).to_pylist()
    return comma_separated(names, ([row[name] for name in names] for row in rows))
