"""Driver of a thousand slots, without Ray: what decides, remembers, tells MLflow and shows is the product's own.

A process of its own plays the workers: a trial's epoch ends ``epoch_s`` after it was asked for, and its result comes
pickled through a pipe. Like Ray Tune the driver asks the scheduler about a result, then the searcher for a trial.
"""

import math
import os
import random
import resource
import statistics
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, chdir, suppress
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from io import StringIO
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
from rich.console import Console

from orchestrator.driver.adapters import PlannedSearcher, PruningScheduler
from orchestrator.driver.capacity import Demand, at_a_time, has_room
from orchestrator.driver.limits import Limits
from orchestrator.driver.session import Session
from orchestrator.driver.stop import Stop
from orchestrator.launch.execution import run_rounds
from orchestrator.launch.history import History
from orchestrator.launch.open_study import OpenStudy
from orchestrator.launch.stages import Stages
from orchestrator.store.records import Store
from orchestrator.studyfile import Study
from orchestrator.tracking import StudyInfo, TrackerApart
from orchestrator.tracking.tracker_apart import MODULE
from orchestrator.worker.job import AttemptBegan, EpochDone, Job
from trainable.evaluate.metrics.names import EPOCH_SECONDS

NODE_CPUS = 8
METRICS = 30


@dataclass(frozen=True)
class Load:
    """What the driver is fed with."""

    slots: int
    epoch_s: float
    seconds: float
    """How long; infinite: until the study is done."""
    tracking: bool = True


class SimulatedCluster:
    """As much of a ``ClusterWatch`` as a driver asks."""

    def __init__(self, slots: int) -> None:
        self.nodes: Sequence[Mapping[str, float]] = [{"CPU": NODE_CPUS}] * math.ceil(slots / NODE_CPUS)
        self._most = slots

    @property
    def slots(self) -> int:
        """Trials at a time."""
        return min(self._most, at_a_time(self.nodes, Demand(1, 0)))

    def has_room(self, live: Sequence[Demand], another: Demand) -> bool:
        """Whether one more runs beside those that live."""
        return len(live) < self._most and has_room(self.nodes, live, another)

    def may_grow_for(self, demand: Demand) -> bool:  # noqa: ARG002
        """It does not grow."""
        return False


def workers(pipe: Connection, epoch_s: float) -> None:
    """Play all workers: what is asked for ends ``epoch_s`` later, the first epochs spread over that time."""
    due: list[tuple[float, str, int, int]] = []
    with suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            left = due[0][0] - time.monotonic() if due else None
            if pipe.poll(left if left is None else max(0.0, left)):
                key, epoch, epochs = pipe.recv()
                wait = epoch_s * (random.Random(key).random() if epoch == 1 else 1.0)
                heappush(due, (time.monotonic() + wait, key, epoch, epochs))
            while due and due[0][0] <= time.monotonic():
                when, key, epoch, epochs = heappop(due)
                began = AttemptBegan((), (), "node") if epoch == 1 else None
                pipe.send((when, key, EpochDone(epoch, metrics(key, epoch, epoch_s), epoch == epochs, began)))


def metrics(key: str, epoch: int, epoch_s: float) -> dict[str, float]:
    """Thirty values, the objective a curve of the trial's own with noise."""
    score = random.Random(key).random() * (1 - math.exp(-epoch / 5)) + random.Random(f"{key} {epoch}").gauss(0, 0.01)
    others = {f"metric/{index}": score + index for index in range(METRICS - 2)}
    return {"val/miou": score, EPOCH_SECONDS: epoch_s, **others}


@dataclass
class Figures:
    """What was measured."""

    latencies: list[float] = field(default_factory=list)
    """Seconds from a result to its decision."""
    suggesting: list[float] = field(default_factory=list)
    """Seconds for a trial to be suggested and remembered."""
    ended: list[tuple[float, float]] = field(default_factory=list)
    """When each trial ended, and the process's CPU seconds then."""
    results: int = 0
    full_at: float = math.nan
    """When all slots had a trial."""
    behind: list[int] = field(default_factory=list)
    """Results that MLflow lacked, every few seconds."""
    rss: list[tuple[int, float]] = field(default_factory=list)
    """Trials ended, and MB of the process."""


class SimulatedTune:
    """Ray Tune's loop over simulated workers; ``execute`` of a round."""

    def __init__(self, load: Load, store: Store, limits: Limits, stop: Stop, tracker: TrackerApart | None) -> None:
        self._load, self._store, self._limits, self._stop, self._tracker = load, store, limits, stop, tracker
        self.figures = Figures()
        self.cpu: dict[str, float] = {}
        self.mlflow = self.span = 0.0  # CPU seconds of MLflow's process, and seconds that both are of

    def __call__(self, session: Session) -> None:
        """Run the session's trials until the time is over."""
        job = partial(Job, storage=self._store.storage, study=self._store.study, launch=session.launch, fit="")
        cluster: Any = SimulatedCluster(self._load.slots)
        self._searcher = PlannedSearcher(session, job, Demand(1, 0), cluster, self._limits, self._stop)
        self._scheduler = PruningScheduler(session, self._searcher, self._stop)
        self._trials: dict[str, SimpleNamespace] = {}
        with _WorkerProcess(self._load.epoch_s) as self._pipe:
            self._loop()
        session.give_up("the time is over")

    def _loop(self) -> None:
        figures, begun, finished, looked = self.figures, time.monotonic(), False, 0.0
        before, mlflow = threads_cpu(), mlflow_cpu()
        while time.monotonic() - begun < self._load.seconds and (not finished or self._trials):
            while self._pipe.poll(0 if self._may_ask else 0.05):
                self._take(*self._pipe.recv())
            asked = time.perf_counter()
            config = self._searcher.suggest(name := f"trial{figures.results}-{len(figures.suggesting)}")
            finished = isinstance(config, str)
            self._may_ask = isinstance(config, dict)
            if isinstance(config, dict):
                self._begin(name, config["job"])
                figures.suggesting.append(time.perf_counter() - asked)
            elif math.isnan(figures.full_at):
                figures.full_at = time.monotonic()
                before, mlflow = threads_cpu(), mlflow_cpu()
                figures.latencies, begun_full = [], time.monotonic()
            if time.monotonic() - looked > 2:
                looked = time.monotonic()
                self._look()
        self._look()
        after = threads_cpu()
        self.cpu = {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}
        self.span = time.monotonic() - begun_full
        self.mlflow = mlflow_cpu() - mlflow

    _may_ask = True

    def _begin(self, name: str, job: Job) -> None:
        trial = SimpleNamespace(trial_id=name, status="RUNNING", epochs=job.planned.epochs)
        self._trials[job.planned.key] = trial
        self._scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
        self._pipe.send((job.planned.key, 1, trial.epochs))

    def _take(self, when: float, key: str, done: EpochDone) -> None:
        trial, result = self._trials[key], {"outcome": done}
        stops = done.last or self._scheduler.on_trial_result(None, trial, result) == "STOP"  # type: ignore[arg-type]
        if stops:
            self._searcher.on_trial_complete(trial.trial_id, result)  # type: ignore[arg-type]
            trial.status = "TERMINATED"
            del self._trials[key]
            self.figures.ended.append((time.monotonic(), time.process_time()))
        else:
            self._pipe.send((key, done.epoch + 1, trial.epochs))
        self.figures.results += 1
        self.figures.latencies.append(time.monotonic() - when)

    def _look(self) -> None:
        self.figures.rss.append((len(self.figures.ended), psutil.Process().memory_info().rss / 2**20))
        self.figures.behind.append(self._tracker.behind if self._tracker else 0)


class _WorkerProcess(AbstractContextManager[Connection]):
    def __init__(self, epoch_s: float) -> None:
        context = get_context("spawn")
        self._own, other = context.Pipe()
        self._process = context.Process(target=workers, args=(other, epoch_s), daemon=True)
        self._process.start()
        other.close()

    def __enter__(self) -> Connection:
        return self._own

    def __exit__(self, *exc: object) -> None:
        self._own.close()
        self._process.kill()
        self._process.join()


class _Screen(StringIO):
    """A terminal, which keeps nothing: what is drawn would be measured as memory of the driver."""

    def write(self, text: str) -> int:
        """Leave it."""
        return len(text)


def threads_cpu() -> dict[str, float]:
    """CPU seconds of this process by the names of its threads; those that Python does not know are one."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    seconds: dict[str, float] = {}
    for thread in psutil.Process().threads():
        name = names.get(thread.id, "others").partition("-")[0]
        seconds[name] = seconds.get(name, 0.0) + thread.user_time + thread.system_time
    return seconds


def mlflow_cpu() -> float:
    """CPU seconds of the process that tells MLflow."""
    of_tracker = (child for child in psutil.Process().children() if MODULE in child.cmdline())
    return sum(sum(child.cpu_times()[:2]) for child in of_tracker)


def simulate(folder: Path, study: Study, load: Load) -> SimulatedTune:
    """Run the study of a new directory on simulated workers, as a launch runs it."""
    stop, store = Stop(""), Store(str(folder), study.spec.study)
    store.write_study(study.resolved())
    console = Console(file=_Screen(), force_terminal=True, width=120, height=50)
    stages = Stages(study, store, History(()), lambda _: None)
    opened = OpenStudy(study, store, stages, console, stop)
    uri = f"sqlite:///{folder}/mlflow.db"
    tracker = TrackerApart(uri, StudyInfo(store, store.launched_study())) if load.tracking else None
    limits = Limits.of(study.spec.budget, store, math.inf)
    tune, watch = SimulatedTune(load, store, limits, stop, tracker), SimulatedCluster(load.slots)
    with limits.watched(stop, 1.0), chdir(folder):  # MLflow keeps its files there
        run_rounds(opened, stages.next(), tracker, limits, watch, tune)  # type: ignore[arg-type]
    return tune


def print_part(folder: Path, study: Study, load: Load) -> None:
    """Run one part in a process of its own, print its figures and end it, whatever MLflow has yet to be told."""
    tune = simulate(folder, study, load)
    (print_slots if load.seconds < math.inf else print_tenths)(tune, load)
    sys.stdout.flush()
    os._exit(0)


def print_slots(tune: SimulatedTune, load: Load) -> None:
    """Figures while all slots were at work."""
    figures = tune.figures
    cpu = {name: 100 * seconds / tune.span for name, seconds in sorted(tune.cpu.items(), key=lambda item: -item[1])}
    print(f"{load.slots} slots, an epoch every {load.epoch_s:g} s each, {tune.span:.0f} s: {figures.results} results,")
    print(f"  {len(figures.suggesting)} trials begun, {len(figures.ended)} ended")
    threads = ", ".join(f"{name} {share:.1f} %" for name, share in cpu.items() if share > 0.1)
    print(f"  driver {sum(cpu.values()):.0f} % of a core: {threads}; MLflow's {100 * tune.mlflow / tune.span:.0f} %")
    print(f"  result to decision: {_milliseconds(figures.latencies)}")
    print(f"  a trial's suggestion: {_milliseconds(figures.suggesting)}")
    _print_growth(figures)


def print_tenths(tune: SimulatedTune, load: Load) -> None:
    """Time per trial in each tenth of the trials."""
    print(f"{len(tune.figures.ended)} trials as fast as they go, {load.slots} at a time:")
    ended, tenth = tune.figures.ended, len(tune.figures.ended) // 10
    for what, at in (("wall", 0), ("CPU", 1)):
        marks = [ended[index * tenth][at] for index in range(10)] + [ended[-1][at]]
        each = [1000 * (b - a) / tenth for a, b in pairwise(marks)]
        print(f"  {what} ms per trial, by tenths: " + " ".join(f"{ms:.1f}" for ms in each))
    print(f"  a trial's suggestion: {_milliseconds(tune.figures.suggesting)}")
    _print_growth(tune.figures)


def _print_growth(figures: Figures) -> None:
    middle = next(at for at in figures.rss if at[0] >= figures.rss[-1][0] / 5)
    last, peak = figures.rss[-1], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    growth = (last[1] - middle[1]) / max(1, last[0] - middle[0])
    print(f"  memory {last[1]:.0f} MB (peak {peak:.0f}), growth {1024 * growth:.1f} KB a trial after the first fifth")
    if max(figures.behind):
        print(f"  MLflow behind by {max(figures.behind)} results at most, {figures.behind[-1]} at the end")


def _milliseconds(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    at = {"median": 0.5, "p99": 0.99, "most": 1.0}
    mean = f"mean {1000 * statistics.fmean(ordered):.1f}"
    return ", ".join([mean, *(f"{n} {1000 * ordered[int(s * (len(ordered) - 1))]:.1f}" for n, s in at.items())]) + " ms"
