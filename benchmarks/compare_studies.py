"""Whether two runs of one study gave the same: ``python benchmarks/compare_studies.py BEFORE AFTER [--study NAME]``.

Each folder holds ``studies/NAME`` and ``mlflow.db`` as a launch leaves them (``fixed_study.yaml`` is made for this).
Compared bit for bit: every row of results.parquet but wall-clock times, figures of the machine and ``pick.*`` columns
(which older versions lack); the plans of comparisons; and of every MLflow run its parameters, metrics by step, and tags
but versions, times and identities. Exit codes: 0 the same, 1 different (differences are told), 2 something is missing.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trainable.evaluate.metrics.names import repeats

LISTED = 20
"""Differences of a kind that are printed one by one."""
OWN_TAGS = (
    "version.", "git.", "mlflow.source.", "mlflow.user", "mlflow.parentRunId", "mlflow.log-model", "mlflow.note.",
    "study_id",
)  # fmt: skip
"""Beginnings of tags that tell one run of a study from another, or where and by which version it ran."""
OWN_NAMES = ("host", "gpu")


def table_differences(before: Path, after: Path) -> Iterator[str]:
    """Columns and rows that are not alike."""
    tables = [pq.read_table(folder / "results.parquet") for folder in (before, after)]
    names = [[name for name in table.column_names if repeats(name) and _is_old(name)] for table in tables]
    if names[0] != names[1]:
        yield f"results.parquet: columns {sorted(set(names[0]) ^ set(names[1])) or 'in another order'}"
        return
    rows = [_rows(table.select(names[0])) for table in tables]
    if rows[0].keys() != rows[1].keys():
        yield f"results.parquet: rows {sorted(rows[0].keys() ^ rows[1].keys())}"
    for key in rows[0].keys() & rows[1].keys():
        for name in names[0]:
            one, other = rows[0][key][name], rows[1][key][name]
            if one != other:
                yield f"results.parquet: {key[0]}, epoch {key[1]}: {name} was {one}, is {other}"


def plan_differences(before: Path, after: Path) -> Iterator[str]:
    """Plans of comparisons whose bytes are not alike."""
    plans = [{path.name: path.read_bytes() for path in folder.glob("plan-*.json")} for folder in (before, after)]
    for name in sorted(plans[0].keys() | plans[1].keys()):
        if plans[0].get(name) != plans[1].get(name):
            yield f"{name}: differs"


def tracking_differences(before: Path, after: Path, study: str) -> Iterator[str]:
    """Runs in MLflow that are not alike."""
    one, other = (_tracked(path, study) for path in (before, after))
    if one.keys() != other.keys():
        yield f"MLflow: runs {sorted(one.keys() ^ other.keys())}"
    for run in sorted(one.keys() & other.keys()):
        for name in sorted(one[run].keys() | other[run].keys()):
            if one[run].get(name) != other[run].get(name):
                yield f"MLflow: {run}: {name} was {one[run].get(name)}, is {other[run].get(name)}"


def _is_old(name: str) -> bool:
    return not name.startswith("pick.")


def _rows(table: pa.Table) -> dict[tuple[str, int], dict[str, str]]:
    """Every value as text that shows all of its bits, by trial and epoch."""
    return {
        (row["trial"], row["epoch"]): {name: repr(value) for name, value in row.items()} for row in table.to_pylist()
    }


def _tracked(database: Path, study: str) -> Mapping[str, Mapping[str, str]]:
    """What MLflow holds of each run that a second run of the study would repeat."""
    from mlflow import MlflowClient  # late: a comparison of tables needs none of its seconds

    client = MlflowClient(f"sqlite:///{database}")
    experiment = client.get_experiment_by_name(study)
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    held = {}
    for run in runs:
        name = run.data.tags.get("trial", "(study)")
        values = {f"parameter {key}": value for key, value in run.data.params.items()}
        values |= {f"tag {key}": value for key, value in run.data.tags.items() if _repeats_tag(key)}
        for key in filter(repeats, run.data.metrics):
            steps = sorted((metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key))
            values[f"metric {key}"] = repr(steps)
        held[name] = values | {"status": run.info.status}
    return held


def _repeats_tag(name: str) -> bool:
    return not name.startswith(OWN_TAGS) and name not in OWN_NAMES


def main() -> int:
    """Compare two folders; returns the exit code."""
    parser = argparse.ArgumentParser(description="Whether two runs of one study gave the same.")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--study", default="fixed", help="name of the study (%(default)s)")
    parser.add_argument("--tables-only", action="store_true", help="leave MLflow out")
    options = parser.parse_args()
    before, after = (folder / "studies" / options.study for folder in (options.before, options.after))
    databases = () if options.tables_only else (options.before / "mlflow.db", options.after / "mlflow.db")
    missing = [
        path for path in (before / "results.parquet", after / "results.parquet", *databases) if not path.exists()
    ]
    if missing:
        print(*(f"{path}: missing" for path in missing), sep="\n", file=sys.stderr)
        return 2
    differences = {
        "results.parquet": list(table_differences(before, after)),
        "plans": list(plan_differences(before, after)),
        "MLflow": list(tracking_differences(*databases, options.study)) if databases else [],
    }
    for what, lines in differences.items():
        print("\n  ".join([f"{what}: {f'{len(lines)} different' if lines else 'the same'}", *lines[:LISTED]]))
    return 1 if any(differences.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
