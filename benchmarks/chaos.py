"""Random SIGKILLs against a study, compared with the same study left in peace.

    python benchmarks/chaos.py --kills 30 --seed 0              fixed cells on a two-node cluster, tracked by a server
    python benchmarks/chaos.py --kills 10 --seed 0 --local      fixed cells on a Ray of the command's own, sqlite
    python benchmarks/chaos.py --kills 10 --seed 0 --search     TPE and ASHA, one trial at a time
    python benchmarks/chaos.py --kills 10 --seed 0 --prefix     trials that share their first epochs

Real trials on tiny shapes under kills of the command, of a trial's process and of the second node's raylet (only what
this script started). A killed command is given again, a killed node is replaced, until the study is finished; studies
follow one another until all kills are spent. Checked: results.parquet equal bit for bit, its wall-clock and memory
columns aside; no trial lost or doubled; one MLflow run per trial with every epoch once; at most one epoch that was
handed on repeated per attempt; with ``--search`` also that a planner fed the same records suggests and prunes alike;
with ``--prefix`` also that all rows but those of prefixes are those of the study that shares none, left in peace.
Exit code 1 on any difference.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos_checks import Finished, decision_differences, differences, table
from chaos_ground import Ground, ground
from chaos_trace import TRACE, clear, epochs_trained, repeats

from orchestrator.studyfile import load

ROOT = Path(__file__).resolve().parents[1]
STUDY_SECONDS = 900.0
EAGER = 0.2
"""Share of the kills that come at any moment of a launch, also before its first epoch."""

HEAD = """
study: chaos
objective: {metric: val/miou, mode: max}
data: {name: shapes, size: [32, 32], train_images: 24, val_images: 24}
model: {arch: linknet, encoder: tu-test_resnet, encoder_weights: null}
"""
CELLS = """
train: {epochs: 5, batch_size: 4, lr: 6.0e-3}
suppression:
  p_max: {choice: [0.3, 0.7]}
  layer: {choice: [decoder, encoder.4]}
  sampling: {choice: [{name: difficulty, tau: 1.0}, inverse_frequency]}
search: {sampler: grid, references: []}
resources: {cpu: 1, max_concurrent: 2, retries: 99, retry_backoff_s: 0.1}
"""
SHORT = CELLS.replace("[0.3, 0.7]", "[0.7]").replace("epochs: 5", "epochs: 4")
SEARCH = """
train: {epochs: 8, batch_size: 4, lr: {log_uniform: [1.0e-4, 1.0e-2]}}
suppression:
  p_max: {uniform: [0.0, 1.0]}
  sampling: {choice: [{name: difficulty, tau: {uniform: [0.5, 3.0]}}, uniform]}
search:
  sampler: {name: tpe, startup_trials: 4}
  pruner: {name: asha, grace_epochs: 2, reduction_factor: 2}
  trials: 12
  references: []
resources: {cpu: 1, max_concurrent: 1, retries: 99, retry_backoff_s: 0.1}
"""
PREFIX = """
train: {epochs: 5, batch_size: 4, lr: 6.0e-3}
suppression:
  layer: {choice: [decoder, encoder.4, input]}
  start: {choice: [0.4, 0.8]}
  sampling: {choice: [{name: difficulty, tau: 1.0}, inverse_frequency]}
search: {sampler: grid, seeds: 2, references: []}
resources: {cpu: 1, max_concurrent: 2, retries: 99, retry_backoff_s: 0.1}
"""


@dataclass
class Tally:
    """What happened in one study or several."""

    kills: Counter[str] = field(default_factory=Counter)
    launches: int = 0
    other_ends: list[str] = field(default_factory=list)
    """Launches that ended neither by a kill of the command nor with the study."""
    repeated: Counter[int] = field(default_factory=Counter)
    """Attempts by the number of epochs that were handed on and then trained again."""
    differences: list[str] = field(default_factory=list)


@dataclass
class Run:
    """One study: its command, its folder and what is done to it."""

    name: str
    spec: Path
    folder: Path
    ground: Ground
    random: random.Random
    tally: Tally
    settings: tuple[str, ...] = ()
    """Overrides of the study."""
    process: subprocess.Popen[str] | None = None

    @property
    def finished(self) -> Finished:
        """What is checked in the end."""
        return Finished(self.name, self.folder, self.ground.tracking)

    def finish(self, kills: int) -> int:
        """Give the command until the study is finished; returns the kills that are left."""
        deadline = time.monotonic() + STUDY_SECONDS
        self._launch()
        while True:
            if kills and self._wait_for_a_moment(deadline):
                self._kill()
                kills -= 1
            if kills == 0:
                self._wait(deadline)
            assert self.process is not None
            if self.process.poll() is None:
                continue
            if self.process.returncode == 0:
                return kills
            if self.process.returncode != -signal.SIGKILL:
                tail = (self.folder / "log.txt").read_text().strip().splitlines()[-1:]
                self.tally.other_ends.append(f"exit code {self.process.returncode}: {' '.join(tail)}")
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.name}: not finished in {STUDY_SECONDS:g} s; see {self.folder}/log.txt")
            self._launch()

    def _launch(self) -> None:
        overrides = [f"tracking.uri={self.ground.tracking}", f"tracking.experiment={self.name}", *self.settings]
        address = self.ground.cluster.address if self.ground.cluster else None
        code = (
            "import sys; from orchestrator.launch.one_launch import Target, launch;"
            "from orchestrator.studyfile import load;"
            f"sys.exit(launch(load({str(self.spec)!r}, {overrides!r}), storage={str(self.folder)!r},"
            f"target=Target({address!r}, fit='chaos_trace:traced'), command=''))"
        )
        self.folder.mkdir(exist_ok=True)
        with open(self.folder / "log.txt", "a") as log:
            self.process = subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log, text=True)
        self.tally.launches += 1

    def _wait(self, deadline: float) -> None:
        assert self.process is not None
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(max(1, deadline - time.monotonic()))

    def _wait_for_a_moment(self, deadline: float) -> bool:
        """Wait until some epochs are done, or for a random time; False where the command ended before."""
        assert self.process is not None
        eager = self.random.random() < EAGER
        until = time.monotonic() + self.random.uniform(0, 8) if eager else deadline
        goal = epochs_trained() + self.random.randint(1, 3)
        while time.monotonic() < until and (eager or epochs_trained() < goal):
            if self.process.poll() is not None:
                return False
            time.sleep(0.02)
        time.sleep(self.random.uniform(0, 0.4))
        return self.process.poll() is None

    def _kill(self) -> None:
        workers = self._workers()
        kinds = ["command", *(["trial"] if workers else []), *(["node"] if self.ground.cluster else [])]
        kind = self.random.choice(kinds)
        self.tally.kills[kind] += 1
        match kind:
            case "trial":
                with suppress(ProcessLookupError):
                    os.kill(self.random.choice(workers), signal.SIGKILL)
            case "node":
                self.ground.kill_node()
            case _:
                assert self.process is not None
                self.process.kill()
                self.process.wait()

    def _workers(self) -> list[int]:
        """Processes that run a trial: the latest claim of each trial without a verdict, if it is alive and ours."""
        pids = []
        for trial in self.folder.glob("chaos/trials/*"):
            claims = sorted(trial.glob("attempt-*.json"), key=lambda path: int(path.stem[8:]))
            if claims and not (trial / "verdict.json").exists():
                with suppress(OSError, ValueError):
                    pid = int(json.loads(claims[-1].read_text())["content"]["pid"])
                    mark = f"{TRACE}={os.environ[TRACE]}".encode()
                    if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                        pids.append(pid)
        return pids


def chaos(
    folder: Path,
    *,
    kills: int,
    seed: int,
    search: bool = False,
    prefix: bool = False,
    local: bool = False,
    short: bool = False,
    say: Callable[[str], None] = print,
) -> int:
    """Run it all below ``folder``; returns the exit code.

    Args:
        folder: An empty folder.
        kills: How many.
        seed: Decides their kinds and moments, as far as the machine's speed does not.
        search: TPE and ASHA instead of fixed cells.
        prefix: Trials that share their first epochs instead.
        local: No cluster and no server.
        short: Half the cells.
        say: Prints a line.
    """
    spec = folder / "chaos.yaml"
    spec.write_text(HEAD + (SEARCH if search else PREFIX if prefix else SHORT if short else CELLS))
    trace = folder / "trace"
    paths = filter(None, [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
    os.environ |= {TRACE: str(trace), "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    tally, random_ = Tally(), random.Random(seed)
    began = time.monotonic()
    with ground(folder, local=local or search or prefix) as place:
        study = load(spec, [f"tracking.uri={place.tracking}"])
        clear(trace)
        calm = Run("calm", spec, folder / "calm", place, random_, Tally())
        calm.finish(0)
        say(f"undisturbed: {time.monotonic() - began:.0f} s, {len(table(calm.finished))} rows")
        if prefix:
            tally.differences += _unshared_differences(calm, spec, place, random_)
        left, rounds = kills, 0
        while left:
            clear(trace)
            rounds += 1
            run = Run(f"chaos-{rounds}", spec, folder / f"chaos-{rounds}", place, random_, tally)
            left = run.finish(left)
            tally.repeated += repeats()
            found = differences(calm.finished, run.finished, study)
            if search:
                found += decision_differences(run.finished.records, study)
            tally.differences += [f"study {rounds}: {line}" for line in found]
            say(f"study {rounds}: {kills - left} of {kills} kills, {len(found)} differences")
    _print(tally, rounds, time.monotonic() - began, say)
    return 1 if tally.differences or max(tally.repeated, default=0) > 1 else 0


def _unshared_differences(calm: Run, spec: Path, place: Ground, random_: random.Random) -> list[str]:
    """How the study differs from one whose trials train all epochs themselves."""
    clear(Path(os.environ[TRACE]))
    settings = ("resources.share_prefixes=false",)
    alone = Run("unshared", spec, spec.parent / "unshared", place, random_, Tally(), settings)
    alone.finish(0)
    one, other = table(calm.finished, prefixes=False), table(alone.finished, prefixes=False)
    return [] if one == other else [f"{sum(a != b for a, b in zip(one, other, strict=False))} rows of {len(other)}"]


def _print(tally: Tally, rounds: int, seconds: float, say: Callable[[str], None]) -> None:
    rows = {
        "studies finished": str(rounds),
        "kills": f"{tally.kills.total()}: " + ", ".join(f"{count} {kind}" for kind, count in tally.kills.items()),
        "launches": str(tally.launches),
        "launches that ended otherwise": str(len(tally.other_ends)),
        "attempts by handed-on epochs repeated": ", ".join(f"{n}: {c}" for n, c in sorted(tally.repeated.items())),
        "differences": str(len(tally.differences)),
        "seconds": f"{seconds:.0f}",
    }
    for name, value in rows.items():
        say(f"{name:<38} {value}")
    for line in (*tally.other_ends, *tally.differences):
        say(f"  {line}")


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of their kinds and moments")
    parser.add_argument("--search", action="store_true", help="TPE and ASHA instead of fixed cells; implies --local")
    parser.add_argument("--prefix", action="store_true", help="trials that share their first epochs; implies --local")
    parser.add_argument("--local", action="store_true", help="no cluster and no server: kill commands and trials only")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this folder and leave everything there")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        folder.mkdir(parents=True, exist_ok=True)
        what: dict[str, Any] = {"search": options.search, "prefix": options.prefix, "local": options.local}
        return chaos(folder.resolve(), kills=options.kills, seed=options.seed, **what)


if __name__ == "__main__":
    sys.exit(main())
