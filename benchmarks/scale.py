"""How a study of many finished trials is continued: seconds and memory.

    python benchmarks/scale.py                 1,000 trials: from the command to the first new trial; 10,000: reading
    python benchmarks/scale.py --trials N      N instead of 10,000
    python benchmarks/scale.py --slots 1000    the driver of a thousand slots on simulated workers, then 10,000 trials

The records are written directly: no-op trials with 30 metrics and 3 epochs each. ``first new trial``: wall time of the
whole command, from the start of its process to the claim of the trial that a larger budget adds. ``records`` and
``planner``: a fresh process reads all records and rebuilds the planner; memory is what the process grew by.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from trial_overhead import NoOpEpoch

from orchestrator.plan.planner import Planner
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Study, load

ROOT = Path(__file__).resolve().parents[1]
COMMON = ["search.references=[]", "study=scale", "train.epochs=3", "objective={metric: val/miou, mode: max}"]


def no_op(config: Any, *, threads: int, resume_from: Mapping[str, Any] | None = None) -> Iterator[NoOpEpoch]:  # noqa: ARG001
    """A trial that does nothing."""
    for epoch in range(resume_from["epoch"] + 1 if resume_from else 1, 4):
        yield NoOpEpoch(epoch, _metrics(epoch, 0.5))


def _metrics(epoch: int, score: float) -> dict[str, float]:
    return {"val/miou": score * epoch / 3, **{f"metric/{index}": float(index) for index in range(29)}}


def study(sampler: str, trials: int) -> Study:
    """The study of the shapes file with this sampler and budget."""
    overrides = [*COMMON, f"search.sampler={sampler}", f"search.trials={trials}"]
    return load(ROOT / "search_spaces/shapes.yaml", overrides)


def write_records(store: Store, loaded: Study, trials: int) -> None:
    """Finished trials with the picks of a random search."""
    planner = Planner(study("random", trials))
    store.write_study(loaded.resolved())
    for number in range(trials):
        planned = planner.next()
        assert planned is not None
        epochs = tuple(_metrics(epoch, (number * 7919 % 1000) / 1000) for epoch in (1, 2, 3))
        store.plan(planned)
        store.judge(Record(planned, epochs).ended(State.COMPLETE), {})


def first_new_trial(folder: Path, sampler: str, trials: int) -> float:
    """Wall seconds from the start of the command to the claim of its first new trial."""
    loaded = study(sampler, trials + 1)
    write_records(Store(str(folder), "scale"), loaded, trials)
    code = (
        "import sys; from orchestrator.launch.one_launch import Target, launch; import scale;"
        f"sys.exit(launch(scale.study({sampler!r}, {trials + 1}), storage={str(folder)!r}, command='',"
        "target=Target(max_concurrent=1, fit='scale:no_op')))"
    )
    began = time.time()
    process = subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=_environment(folder), **_QUIET)
    claim = folder / f"scale/trials/search-{trials:04d}/attempt-1.json"
    planned = claim.with_name("config.json")
    try:
        while not claim.exists():
            if process.poll() is not None:
                raise SystemExit(f"the command ended with {process.returncode} before it began a trial")
            time.sleep(0.01)
        handed = planned.stat().st_mtime - began
        begun = claim.stat().st_mtime - began
        process.wait(600)
    finally:
        process.kill()
    print(
        f"{sampler:7} {trials:6} trials: handed out after {handed:.1f} s, begun by a worker after {begun:.1f} s; "
        f"whole command {time.time() - began:.1f} s, exit code {process.returncode}"
    )
    return handed


def reading(folder: Path, sampler: str, trials: int) -> None:
    """Seconds and memory of a fresh process that reads the records and builds the planner."""
    code = f"import scale; scale.read({str(folder)!r}, {sampler!r}, {trials})"
    done = subprocess.run(
        [sys.executable, "-c", code], env=_environment(folder), capture_output=True, text=True, check=True
    )
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    print(
        f"{sampler:7} {trials:6} trials: " + "  ".join(f"{name} {value:.2f}" for name, value in figures.items()),
        flush=True,
    )


def read(folder: str, sampler: str, trials: int) -> None:
    """In the fresh process: print the figures as JSON."""
    from orchestrator.launch.history import read_history

    loaded, store = study(sampler, trials + 1), Store(folder, "scale")
    before, began = _memory(), time.perf_counter()
    records = store.records()
    between = time.perf_counter()
    history = read_history(loaded, store)
    fitted = time.perf_counter()
    planner = Planner(loaded, history.records, history.outside)
    built = time.perf_counter()
    assert planner.next() is not None
    end = time.perf_counter()
    assert len(records) == trials
    seconds = {"records_s": between - began, "history_s": fitted - between, "planner_s": built - fitted}
    print(json.dumps(seconds | {"suggestion_s": end - built, "grown_mb": _memory() - before}), flush=True)


def slots(options: argparse.Namespace) -> None:
    """A driver fed by simulated workers: at the pace of a cluster, then as fast as it goes."""
    import simulated_slots as simulated

    tracking = not options.without_tracking
    searched = [f"search.sampler={options.sampler}", "search.pruner=asha", "study=slots", "search.references=[]"]
    searched += ["objective={metric: val/miou, mode: max}"]
    parts = []
    if options.seconds > 0:
        paced = simulated.Load(options.slots, options.epoch, options.seconds, tracking)
        parts.append((paced, ["search.trials=100000", "train.epochs=30"]))
    if options.trials > 0:
        fast = simulated.Load(options.slots, 0.0, math.inf, tracking)
        parts.append((fast, [f"search.trials={options.trials}", "train.epochs=3"]))
    for feed, size in parts:
        loaded = load(ROOT / "search_spaces/shapes.yaml", [*searched, *size])
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            process = get_context("fork").Process(target=simulated.print_part, args=(Path(folder), loaded, feed))
            process.start()
            process.join()


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}


_QUIET: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def main() -> None:
    """Print the figures of one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000, help="trials of the reading part (default: %(default)s)")
    parser.add_argument("--slots", type=int, help="simulated workers; nothing is read then")
    parser.add_argument("--seconds", type=float, default=600, help="how long slots are fed (default: %(default)s)")
    parser.add_argument("--epoch", type=float, default=10.0, help="seconds of a slot's epoch (default: %(default)s)")
    parser.add_argument("--sampler", default="tpe", help="sampler of the slots' study (default: %(default)s)")
    parser.add_argument("--without-tracking", action="store_true", help="tell MLflow nothing")
    options = parser.parse_args()
    if options.slots:
        slots(options)
        return
    for sampler in ("random", "tpe"):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            first_new_trial(Path(folder), sampler, 1000)
    for trials in (options.trials // 10, options.trials):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            write_records(Store(folder, "scale"), study("random", trials), trials)
            print(f"        {trials:6} trials written in {time.perf_counter() - began:.0f} s")
            for sampler in ("random", "tpe"):
                reading(Path(folder), sampler, trials)


if __name__ == "__main__":
    main()
