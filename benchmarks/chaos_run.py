"""One study of a chaos run: its command is given, disturbed and given again until the study is finished."""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from chaos_checks import Finished
from chaos_ground import Ground
from chaos_ranks import RankKills
from chaos_trace import epochs_trained

EAGER = 0.2
"""Share of the kills that come at any moment of a launch, also before its first epoch."""


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
    of_ranks: dict[str, str] = field(default_factory=dict)
    """Lines about kills of ranks."""

    def take_ranks(self, ranks: RankKills, mark: str) -> None:
        """Take what became of attempts that lost a rank; ``mark`` is in the environment of all their processes."""
        ranks.note_strays(mark)
        self.kills.update({f"rank {rank}": count for rank, count in sorted(ranks.by_rank.items())})
        seconds = ", ".join(f"{each:.1f}" for each in sorted(ranks.end_seconds))
        self.of_ranks["seconds to the end of the other ranks"] = seconds
        self.differences += ranks.left


@dataclass
class Run:
    """One study: its command, its folder and what is done to it."""

    name: str
    spec: Path
    folder: Path
    ground: Ground
    random: random.Random
    tally: Tally
    ranks: RankKills | None = None
    """Kills of single ranks, instead of all else; None for trials of one process."""
    settings: tuple[str, ...] = ()
    """Overrides of the study."""
    process: subprocess.Popen[str] | None = None

    @property
    def finished(self) -> Finished:
        """What is checked in the end."""
        return Finished(self.name, self.folder, self.ground.kept_runs, self.ground.tracking)

    def finish(self, kills: int) -> int:
        """Give the command until the study is finished; returns the kills that are left."""
        seconds = self.ground.study_seconds
        deadline = time.monotonic() + seconds
        self._launch()
        while True:
            if kills and self._wait_for_a_moment(deadline):
                kills -= self._kill()
            if kills == 0:
                self._wait(deadline)
            assert self.process is not None
            code = self.process.poll()
            if code is None:
                continue
            if code == 0 and not self.finished.is_behind:
                return kills
            if code not in (0, -signal.SIGKILL):
                tail = (self.folder / "log.txt").read_text().strip().splitlines()[-1:]
                self.tally.other_ends.append(f"exit code {code}: {' '.join(tail)}")
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.name}: not finished in {seconds:g} s; see {self.folder}/log.txt")
            self._launch()

    def _launch(self) -> None:
        overrides = [f"tracking.uri={self.ground.tracking}", f"tracking.experiment={self.name}", *self.settings]
        code = (
            "import sys; from orchestrator.launch.one_launch import Target, launch;"
            "from orchestrator.studyfile import load;"
            f"sys.exit(launch(load({str(self.spec)!r}, {overrides!r}), storage={str(self.folder)!r},"
            f"target=Target({self.ground.address!r}, fit='chaos_trace:traced'), command=''))"
        )
        self.folder.mkdir(exist_ok=True)
        self.process = self.ground.give([sys.executable, "-c", code], self.folder / "log.txt")
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

    def _kill(self) -> bool:
        """Kill something; False where there was nothing to kill."""
        assert self.process is not None
        workers = self._workers()
        if self.ranks is not None:
            return any(self.ranks.kill(worker, self.random) for _, worker in workers[:1])
        kinds = ["command", *(["trial"] if workers else []), *self.ground.kinds]
        kind = self.random.choice(kinds)
        self.tally.kills[kind] += 1
        match kind:
            case "trial":
                self.ground.kill_trial(*self.random.choice(workers))
            case "command":
                self.ground.kill_command(self.process)
            case _:
                self.ground.strike(kind, self.process)
        return True

    def _workers(self) -> list[tuple[str, int]]:
        """Host and number of each process that runs a trial: the latest claim of every trial without a verdict."""
        workers = []
        for trial in self.folder.glob("chaos/trials/*"):
            claims = sorted(trial.glob("attempt-*.json"), key=lambda path: int(path.stem[8:]))
            if claims and not (trial / "verdict.json").exists():
                with suppress(OSError, ValueError):
                    claim = json.loads(claims[-1].read_text())["content"]
                    workers.append((str(claim["host"]), int(claim["pid"])))
        return workers
