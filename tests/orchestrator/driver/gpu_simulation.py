"""Studies on simulated GPUs: a clock, cards that count bytes, processes with caps; packer, session, ladder are real.

The true peak of a trial is drawn by a generator of the simulation, which nothing of the product can read.
"""

import heapq
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.driver.capacity import Demand, has_room
from orchestrator.driver.dispatch import Dispatch, Wait
from orchestrator.driver.packing import CONTEXT_BYTES, Card, cap_bytes
from orchestrator.driver.session import Session
from orchestrator.driver.sharing import Sharing, Start
from orchestrator.plan.trial_source import TrialSource
from orchestrator.store.gpu_peaks import GpuPeaks
from orchestrator.store.trial_record import Planned, Record, Setback
from orchestrator.studyfile import Objective
from orchestrator.worker.job import EpochDone, Measured, RanOut, WorkerOutcome
from trainable.evaluate.metrics.names import GPU_PEAK

GIB = 2**30
EPOCHS = 4
STEPS = 8
"""Of an epoch."""
RECOMPUTED = 0.5
"""Part of its peak that a trial holds which computes its activations again."""


class Objects(dict[str, Any]):
    """As much of a study's objects as peaks are kept in."""

    def address(self, name: str) -> str:
        return name

    def is_file(self, name: str) -> bool:
        return name in self

    def read_json(self, name: str) -> Any:
        return self.get(name)

    def write_json(self, name: str, value: Any) -> None:
        self[name] = value


class Records:
    """As much of a store as a session asks, in memory."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Record] = {}
        self.epochs: dict[str, int] = {}

    def plan(self, planned: Planned) -> None:
        self.epochs.setdefault(planned.key, 0)

    def judge(self, record: Record, system_attrs: Mapping[str, Any]) -> None:  # noqa: ARG002
        assert record.key not in self.verdicts, "a trial has one verdict"
        self.verdicts[record.key] = record

    def record(self, key: str) -> None:  # noqa: ARG002
        return None

    def read_hung(self, key: str, launch: str) -> None:  # noqa: ARG002
        return None

    def checkpoints(self, key: str) -> list[Any]:  # noqa: ARG002
        return []

    def kept_starts(self, planned: Planned) -> list[Any]:  # noqa: ARG002
        return []

    def drop_checkpoints(self, key: str, keep: Sequence[Any] = ()) -> None:
        pass


class Trials(TrialSource):
    """A list of trials."""

    def __init__(self, planned: Sequence[Planned]) -> None:
        self.total, self._queue = len(planned), list(planned)
        self.objectives = [Objective(metric="val/miou", mode="max")]

    @property
    def exhausted(self) -> bool:
        return not self._queue

    def next(self) -> Planned | None:
        return self._queue.pop(0) if self._queue else None

    def withdraw(self, key: str) -> None:
        self._queue = [planned for planned in self._queue if planned.key != key]


@dataclass
class Gpu:
    """A card, or a slice of one."""

    node: str
    total: int
    taken: float = 0.0
    """Shares that Ray gave away, in ten thousandths."""
    processes: "list[Process]" = field(default_factory=list)
    outside: int = 0
    """Bytes that programs hold which are none of the study's."""

    @property
    def free(self) -> int:
        return self.total - self.outside - sum(each.context + each.held for each in self.processes)


@dataclass(eq=False)
class Process:
    """A worker on a GPU."""

    start: Start
    gpu: Gpu
    context: int
    """Bytes of its CUDA context, which no cap limits."""
    peak: int
    peaks_at: int
    """Step of the trial at which it holds its peak."""
    step: int
    held: int = 0

    @property
    def cap(self) -> int:
        share = self.start.demand.gpu
        return cap_bytes(share, self.gpu.total) if share < 1 else self.gpu.total - self.context


@dataclass(frozen=True)
class Kind:
    """Trials of one memory class."""

    probed: int
    """Bytes that a probe sees."""
    batch_size: int
    exact: bool


class Simulation:
    """One study; ``run`` it, then look at ``records``, ``setbacks`` and ``probes``."""

    def __init__(
        self, seed: int, cards: Mapping[str, Sequence[int]], kinds: Sequence[Kind], per_kind: int,
        *, retries: int = 3, disturbed: bool = False,
    ) -> None:  # fmt: skip
        self._hidden = random.Random(f"hidden {seed}")
        self.gpus = [Gpu(node, total) for node, totals in cards.items() for total in totals]
        self.nodes = [{"CPU": 64.0, "GPU": float(len(totals)), node: 1.0} for node, totals in cards.items()]
        self._cards = {node: min(totals) for node, totals in cards.items()}
        self._disturbed = disturbed
        planned = [self._planned(n, k, kind) for n, (k, kind) in enumerate([*enumerate(kinds)] * per_kind)]
        self._kind = {each.key: kinds[int(each.key.rpartition("-")[2])] for each in planned}
        self.true_peak = {
            each.key: int(self._kind[each.key].probed * self._hidden.uniform(0.8, 1.4)) for each in planned
        }
        self.records = Records()
        self.objects: Any = Objects()
        self._session = Session(Trials(planned), self.records, [], say=lambda _: None)  # type: ignore[arg-type]
        sharing = Sharing(1, GpuPeaks(self.objects), self._known_cards, lambda _: None)
        self._dispatch = Dispatch(self._session, Demand(1, 1), self, retries, sharing)
        self._live: dict[int, Start] = {}
        self._pending: list[tuple[int, Start]] = []
        self._events: list[tuple[float, int, Process]] = []
        self._numbers = itertools.count()
        self.setbacks: list[Setback] = []
        self.probes = self.attempts = self.most_at_a_time = 0
        self.clock = 0.0

    def has_room(self, live: Sequence[Demand], another: Demand) -> bool:
        return has_room(self.nodes, live, another)

    def may_grow_for(self, demand: Demand) -> bool:  # noqa: ARG002
        return False

    def run(self) -> None:
        """Let the study run to its end."""
        while True:
            while not isinstance(start := self._dispatch.next([each.demand for each in self._live.values()]), Wait):
                number = next(self._numbers)
                self._live[number] = start
                self._pending.append((number, start))
                self._place()
            if not self._events:
                assert start is Wait.OVER, "something waits for what never comes"
                assert not self._pending, "Ray has no room for what was handed out"
                return
            self.clock, number, process = heapq.heappop(self._events)
            self._advance(number, process)
            self._check()

    def _known_cards(self) -> list[Card]:
        totals = set(self._cards.values())
        return [Card(*item) for item in self._cards.items()] if len(totals) > 1 else [Card(None, totals.pop())]

    def _planned(self, number: int, kind_number: int, kind: Kind) -> Planned:
        train = {"epochs": EPOCHS, "batch_size": kind.batch_size} | ({"memory": "exact"} if kind.exact else {})
        config: Any = {
            "data": {"name": "shapes"},
            "model": {"encoder": f"{kind_number}"},
            "train": train,
            "seed": number,
        }
        return Planned(f"t-{number}-{kind_number}", "search", number, config, {})

    def _place(self) -> None:
        """Give what waits a GPU, as Ray does: on one card, the fullest that has room."""
        for number, start in list(self._pending):
            wanted, node = round(start.demand.gpu * 10_000), start.demand.node
            possible = [g for g in self.gpus if g.taken + wanted <= 10_000 and node in (None, g.node)]
            if possible:
                self._pending.remove((number, start))
                gpu = max(possible, key=lambda gpu: gpu.taken)
                gpu.taken += wanted
                self._begin(number, start, gpu)

    def _begin(self, number: int, start: Start, gpu: Gpu) -> None:
        key = start.planned.key
        probing = start.measures is not None
        assert start.rung != "recompute" or self._kind[key].exact, "a trial that does not allow it"
        assert start.rung == "shared" or start.demand.gpu == 1
        peak = self._kind[key].probed if probing else self.true_peak[key]
        peak = int(peak * (RECOMPUTED if start.rung == "recompute" else 1))
        first = 0 if probing else self.records.epochs[key] * STEPS
        last = 2 if probing else EPOCHS * STEPS
        context = self._hidden.randint(300 * 2**20, CONTEXT_BYTES)
        process = Process(start, gpu, context, peak, self._hidden.randrange(first, last), first)
        gpu.processes.append(process)
        self.probes, self.attempts = self.probes + probing, self.attempts + (not probing)
        self.most_at_a_time = max(self.most_at_a_time, len(gpu.processes))
        self._again(number, process)

    def _again(self, number: int, process: Process) -> None:
        heapq.heappush(self._events, (self.clock + self._hidden.uniform(0.5, 1.5), number, process))

    def _advance(self, number: int, process: Process) -> None:
        """Run a step of a process."""
        if self._disturbed and self._hidden.random() < 0.02:
            process.gpu.outside = self._hidden.choice([0, process.gpu.total // 2])
        probing = process.start.measures is not None
        wanted = process.peak if process.step >= process.peaks_at else process.peak * 6 // 10
        more = wanted - process.held
        if wanted > process.cap or more > process.gpu.free:
            self._end(number, process, RanOut(self._setback(process, wanted)))
            return
        process.held = wanted
        process.step += 1
        if probing and process.step == 2:
            self._end(number, process, Measured(process.peak, process.gpu.total))
        elif not probing and process.step % STEPS == 0:
            self._epoch(number, process)
        else:
            self._again(number, process)

    def _epoch(self, number: int, process: Process) -> None:
        key, epoch = process.start.planned.key, process.step // STEPS
        assert epoch == self.records.epochs[key] + 1, "no epoch is trained twice"
        self.records.epochs[key] = epoch
        done = EpochDone(epoch, {"val/miou": 0.5, GPU_PEAK: float(process.held)}, last=epoch == EPOCHS)
        if done.last:
            self._end(number, process, done)
        else:
            self._dispatch.note(process.start, done)
            self._session.epoch(key, done)
            self._again(number, process)

    def _setback(self, process: Process, wanted: int) -> Setback:
        start, gpu = process.start, process.gpu
        by_others = wanted <= process.cap
        setback = Setback(
            1, start.rung, start.demand.gpu, f"step {process.step}", wanted, process.cap, gpu.free, gpu.total, by_others
        )
        self.setbacks.append(setback)
        return setback

    def _end(self, number: int, process: Process, outcome: WorkerOutcome) -> None:
        process.gpu.processes.remove(process)
        process.gpu.taken -= round(process.start.demand.gpu * 10_000)
        self._dispatch.take(self._live.pop(number), outcome)
        self._place()

    def _check(self) -> None:
        """What must hold at any moment."""
        for gpu in self.gpus:
            for process in gpu.processes:
                assert process.held <= process.cap, "a process holds more than its cap"
            caps = sum(process.cap + process.context for process in gpu.processes)
            assert caps <= gpu.total, "caps and contexts exceed the card"
            assert gpu.free >= 0 or gpu.outside, "more is held than the card has"
