"""What a trial costs beyond its work: ours against a script written from the stock pages, in one run.

    python benchmarks/trial_overhead.py              no-op trials: cost per trial, ours and stock
    python benchmarks/trial_overhead.py --trials 1000          a long study of ours; stock on 8 all the same
    CAMVID_ROOT=... python benchmarks/trial_overhead.py --real     real trials: share of slot time spent in epochs

No-op: a study of N and one of 2 one-epoch trials; the cost of a trial is the difference of their wall times per trial
and slot, which leaves out the start of Ray and of the first actors. The engine writes down when it steps: "first step"
is the time from the command to the first trial's step, "prompt" that from the last epoch to the command's end. Ours
keeps records and MLflow runs (sqlite), but no model: there is no network. The stock trainable is a function that
imports what a trial imports, with OptunaSearch and MLflowLoggerCallback.
Real: camvid.yaml, FPN ResNet-18, 96x128, 8 trials x 2 epochs on two slots; sum of epoch seconds / (wall x slots), where
wall is that of the whole command. The stock script trains with the same engine and saves a checkpoint per epoch. Both
search two settings of the decoder's suppression, so that all trials take as long.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SLOTS = 2
STEPS = "TRIAL_OVERHEAD_STEPS"
"""Variable that names the file in which the engine writes down its steps."""
STOCK_TRIALS = 8
NOT_SEARCHED = ("schedule=linear", "loss_ramp=constant", "sampling=uniform", "layer=decoder")
"""Centre of what the stock script does not search: an encoder's layer doubles the length of a trial."""


@dataclass(frozen=True)
class NoOpEpoch:
    """An epoch result without an epoch."""

    epoch: int
    metrics: dict[str, float]
    rare: tuple[int, ...] = ()
    confusion: None = None
    reliance: None = None
    calibration: None = None

    def pictures(self) -> dict[str, bytes]:
        """None."""
        return {}

    def gradcam(self) -> None:
        """None."""

    def weight_cosines(self) -> None:
        """None."""

    def state(self) -> dict[str, Any]:
        """Nothing to continue from but the epoch."""
        return {"epoch": self.epoch}


@dataclass(frozen=True)
class Walls:
    """Seconds of a command; None is what was not written down."""

    whole: float
    first_step: float | None = None
    """From the command to the first trial's step."""
    prompt: float | None = None
    """From the last epoch to the command's end."""


def no_op(config: Any, *, threads: int, resume_from: Any = None) -> Iterator[NoOpEpoch]:  # noqa: ARG001 - the engine's
    """A trial of one epoch that does nothing but report 30 metrics, and write down when."""
    import trainable.train.checkpoint  # noqa: F401 - torch, which any trial has loaded when it steps

    if STEPS in os.environ:
        with open(os.environ[STEPS], "a") as steps:
            steps.write(f"{time.time()}\n")
    yield NoOpEpoch(1, {"val/miou": 0.5, **{f"metric/{index}": float(index) for index in range(29)}})


def ours_no_op(trials: int, folder: Path) -> Walls:
    """A study of no-op trials, tracking on."""
    code = (
        "import sys; from orchestrator.launch.one_launch import Target, launch;"
        "from orchestrator.studyfile import load;"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r});"
        f"study = load({str(ROOT / 'search_spaces/shapes.yaml')!r}, ['search.trials={trials}', 'search.references=[]',"
        "'study=noop', 'train.epochs=1', 'search.sampler=random',"
        "'objective={metric: val/miou, mode: max}', 'tracking.model=false']);"
        f"sys.exit(launch(study, storage='studies', command='',"
        f"target=Target(max_concurrent={SLOTS}, fit='trial_overhead:no_op')))"
    )
    steps = folder / "steps"
    began = time.time()
    wall = _wall([sys.executable, "-c", code], folder, {STEPS: str(steps)})
    times = [float(line) for line in steps.read_text().split()]
    return Walls(wall, min(times) - began, began + wall - max(times))


def stock_no_op(trials: int, folder: Path) -> Walls:
    """The same with a stock function trainable."""
    return Walls(_wall([sys.executable, __file__, "--stock-no-op", str(trials)], folder))


def run_stock_no_op(trials: int) -> None:
    """The script a user would write from the pages of Ray Tune, Optuna and MLflow."""
    from ray import tune

    def trainable(config: dict[str, float]) -> None:  # noqa: ARG001
        import segmentation_models_pytorch  # noqa: F401
        import torch  # noqa: F401
        import torchvision  # noqa: F401

        tune.report({"val/miou": 0.5, **{f"metric/{index}": float(index) for index in range(29)}})

    _stock_tuner(trainable, {"p_max": tune.uniform(0, 1)}, trials).fit()


def run_stock_real(trials: int, epochs: int) -> None:
    """The stock script on real work: the same engine, a checkpoint per epoch."""
    from ray import tune

    def trainable(config: dict[str, Any]) -> None:
        import torch
        from ray.tune import Checkpoint

        from orchestrator.studyfile import load
        from trainable.train.engine import fit

        torch.set_num_threads(1)
        study = load(config["spec"], [f"train.epochs={epochs}"])
        trial = study.space.trial(lambda name, domain: config.get(name, study.space.center()(name, domain)), seed=1)
        for result in fit(trial):
            with tempfile.TemporaryDirectory() as folder:
                torch.save({"epoch": result.epoch, "weights": torch.zeros(13_000_000)}, f"{folder}/checkpoint.pt")
                tune.report(result.metrics, checkpoint=Checkpoint.from_directory(folder))

    space = {"suppression.p_max": tune.uniform(0, 1), "suppression.alpha": tune.loguniform(0.1, 3)}
    spec = {"spec": str(ROOT / "search_spaces/camvid.yaml")}
    results = _stock_tuner(trainable, space | spec, trials).fit()
    seconds = sum(sum(result.metrics_dataframe["epoch_seconds"]) for result in results)
    alone = _alone(max(result.metrics_dataframe["timestamp"]) for result in results)
    print(json.dumps({"epoch_seconds": seconds, "alone": alone}))


def _stock_tuner(trainable: Any, space: dict[str, Any], trials: int) -> Any:
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False)
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(), num_samples=trials, metric="val/miou", mode="max", max_concurrent_trials=SLOTS
        ),
        run_config=tune.RunConfig(
            name="stock",
            storage_path=os.path.abspath("stock"),
            verbose=0,
            callbacks=[MLflowLoggerCallback(tracking_uri="sqlite:///stock.db", experiment_name="stock")],
        ),
    )


@dataclass(frozen=True)
class Real:
    """A study of real trials."""

    epochs: float
    """Seconds of all epochs."""
    wall: float
    """Seconds of the whole command."""
    alone: float
    """Seconds in which the last trial ran beside an idle slot: trials differ in length."""

    def __str__(self) -> str:
        together = self.epochs / (self.wall * SLOTS - self.alone)
        return (
            f"epochs {self.epochs:6.1f} s, wall {self.wall:6.1f} s x {SLOTS} slots: efficiency "
            f"{self.epochs / (self.wall * SLOTS):.3f}; {together:.3f} without the {self.alone:.0f} s of one slot "
            "while the last trial ran alone"
        )


def real(folder: Path) -> Real:
    """Our command on real work."""
    command = [sys.executable, "-m", "orchestrator.sweep", str(ROOT / "search_spaces/camvid.yaml")]
    fixed = (f"suppression.{setting}" for setting in NOT_SEARCHED)
    for override in ("search.trials=8", "search.references=[]", "train.epochs=2", "search.pruner=null", *fixed):
        command += ["--set", override]
    wall = _wall(command, folder)
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "studies/camvid-dropclass/results.parquet")
    ended = (path.stat().st_mtime for path in folder.glob("studies/*/trials/*/verdict.json"))
    return Real(sum(table["epoch_seconds"].to_pylist()), wall, _alone(ended))


def _alone(ended: Iterable[float]) -> float:
    """Between the ends of the last two trials."""
    *_, before, last = sorted(ended)
    return float(last - before)


def stock_real(folder: Path) -> Real:
    """The same of the stock script."""
    began = time.perf_counter()
    command = [sys.executable, __file__, "--stock-real"]
    done = subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True, check=True)
    wall = time.perf_counter() - began
    printed = json.loads(done.stdout.strip().splitlines()[-1])
    return Real(printed["epoch_seconds"], wall, printed["alone"])


def _wall(command: list[str], folder: Path, more: Mapping[str, str] = MappingProxyType({})) -> float:
    began = time.perf_counter()
    environment = {**_environment(), **more}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - began


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "MLFLOW_TRACKING_URI": ""}


def _per_trial(run: Callable[[int, Path], Walls], trials: int, label: str, repeats: int) -> None:
    few: list[Walls] = []
    many: list[Walls] = []
    for _ in range(repeats):  # in turn, so that a drift of the machine meets both
        for walls, count in ((few, 2), (many, 2 + trials)):
            with tempfile.TemporaryDirectory() as folder:
                walls.append(run(count, Path(folder)))
    costs = sorted((b.whole - a.whole) / trials * SLOTS * 1e3 for a, b in zip(few, many, strict=True))
    print(
        f"{label:6} {trials:4} no-op trials, {repeats} pairs: median {statistics.median(costs):.0f} ms per trial "
        f"({costs[0]:.0f} to {costs[-1]:.0f})"
    )
    for walls, count in ((few, 2), (many, 2 + trials)):
        print(f"{label:6} {count:4} trials: {_medians(walls)}")


def _medians(walls: Sequence[Walls]) -> str:
    parts = {
        "whole": [wall.whole for wall in walls],
        "first step after": [wall.first_step for wall in walls if wall.first_step is not None],
        "prompt after the last epoch": [wall.prompt for wall in walls if wall.prompt is not None],
    }
    return ", ".join(f"{name} {statistics.median(values):.1f} s" for name, values in parts.items() if values)


def main() -> None:
    """Print the figures of one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", action="store_true", help="real trials on CamVid instead of no-op ones (minutes)")
    parser.add_argument("--trials", type=int, default=50, help="no-op trials of ours beyond two (default: 50)")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of studies, whose median counts (default: 3)")
    parser.add_argument("--stock-no-op", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--stock-real", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stock_no_op:
        run_stock_no_op(options.stock_no_op)
    elif options.stock_real:
        run_stock_real(trials=8, epochs=2)
    elif options.real:
        for label, run in (("ours", real), ("stock", stock_real)):
            with tempfile.TemporaryDirectory() as folder:
                print(f"{label:6} {run(Path(folder))}")
    else:
        _per_trial(ours_no_op, options.trials, "ours", options.repeats)
        _per_trial(stock_no_op, min(STOCK_TRIALS, options.trials), "stock", repeats=1)  # its cost hardly depends on it


if __name__ == "__main__":
    main()
