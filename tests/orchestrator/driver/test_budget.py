"""A budget over kills and stages, on a simulated clock: never exceeded, and it buys what the dry run says."""

import heapq
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_watch import AmpleCluster, searcher_of
from ray.tune.search import Searcher

from orchestrator.driver.budget import STOPPED, Budget
from orchestrator.driver.deadline import Deadline
from orchestrator.driver.ledger import WRITTEN_EVERY_S, Ledger
from orchestrator.driver.limits import Limits
from orchestrator.driver.session import Session
from orchestrator.driver.stop import Stop
from orchestrator.launch.affordable import Wanted, bought
from orchestrator.launch.execution import missing
from orchestrator.launch.history import read_history
from orchestrator.launch.open_study import OpenStudy
from orchestrator.launch.rounds import Round
from orchestrator.launch.stages import Stages
from orchestrator.plan.trial_source import Need
from orchestrator.store.objects import Objects
from orchestrator.store.records import Store
from orchestrator.store.spending import HOUR_S, Spent, all_spent
from orchestrator.store.trial_record import Record
from orchestrator.studyfile import BudgetSection, Study, load
from orchestrator.terminal.console import open_console
from orchestrator.worker.job import AttemptBegan, EpochDone
from trainable.evaluate.metrics.names import EPOCH_SECONDS

FILE = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes}
model: {arch: fpn, encoder: resnet18, encoder_weights: null}
train: {epochs: 4, batch_size: 20}
suppression: {p_max: {uniform: [0.0, 1.0]}, alpha: 0.3, gate_norm: mean, recalibrate: true}
search: {sampler: random, trials: 6, references: []}
ablation: {design: arms, arms: [plain, two_path, full], seeds: 4}
resources: {gpu: 0.5}
"""
START_S, EPOCH_S = 8.0, 60.0
TRIAL_S = START_S + 4 * EPOCH_S


def objects(tmp_path: Path) -> Objects:
    return Objects(str(tmp_path / "out/s"))


class Clock:
    """Simulated seconds."""

    now = 0.0
    every_10_s: Callable[[], None] = staticmethod(lambda: None)

    def __call__(self) -> float:
        return self.now

    def go_to(self, moment: float) -> None:
        """Let time pass, with whatever happens every 10 s."""
        while self.now + WRITTEN_EVERY_S <= moment:
            self.now += WRITTEN_EVERY_S
            self.every_10_s()
        self.now = moment


@dataclass
class Cluster:
    """Slots of half a GPU; counts what trials truly occupy, whatever the product thinks."""

    study: Study
    store: Store
    slots: int
    clock: Clock
    epoch_s: Callable[[], float] = lambda: EPOCH_S
    kills: Iterator[float] = field(default_factory=lambda: iter(()))
    used: float = 0.0
    """Slot-seconds."""
    ends: int = 0

    def launch(self) -> str | None:
        """Run until nothing is left, a limit says no or the driver is killed; returns why nothing more ran."""
        stop = Stop("again", lambda _: None)
        stop.say = lambda _: None
        stop.settle()
        try:
            return self._launch(stop)
        finally:
            stop.finished(0)

    def _launch(self, stop: Stop) -> str | None:
        history = read_history(self.study, self.store)
        stages = Stages(self.study, self.store, history, lambda _: None)
        self.store.write_study(self.study.resolved())
        ledger = Ledger(self.store.objects, all_spent(self.store.objects), self.clock)
        budget = Budget(self.study.spec.budget, ledger, self.clock)
        killed = self.clock.now + next(self.kills, math.inf)
        opened = OpenStudy(self.study, self.store, stages, open_console(), stop)
        kept = [ledger._own(WRITTEN_EVERY_S)]
        self.clock.every_10_s = lambda: kept.append(ledger._own(WRITTEN_EVERY_S))
        while (current := stages.next()) is not None:
            stages.register()
            running = _Round(self, opened, current, Limits(Deadline(), budget, ledger))
            budget.missing = lambda opened=opened, current=current: missing(opened, current, 0)
            while (problem := running.advance(killed)) == "":
                if (over := budget.over()) is not None and not stop.requested:
                    stop.ask(over, STOPPED)
            if problem == "killed":
                kept[-1].write(self.store.objects, ledger._launch)  # the last one that it wrote
                return problem
            if problem or stop.requested:
                ledger.write()
                return problem or stop.why
        ledger.write()
        return None


class _Round:
    """Trials of a round on their slots, by the searcher that Ray asks."""

    def __init__(self, cluster: Cluster, opened: OpenStudy, current: Round, limits: Limits) -> None:
        self.cluster, self.stop = cluster, opened.stop
        self.session = Session(current.planner, opened.store, [opened.stages], current.known, lambda _: None)
        self.searcher = searcher_of(
            self.session, opened.stop, cluster=AmpleCluster(cluster.slots), limits=limits, gpu=0.5
        )
        self.events: list[tuple[float, str, int]] = []
        self.began: dict[str, float] = {}
        self.lengths: dict[str, float] = {}
        self.named = 0

    def advance(self, killed: float) -> str | None:
        """Fill the slots, and go on to the next end of an epoch; "" says that there is more to come."""
        clock = self.cluster.clock
        while len(self.began) < self.cluster.slots:
            name = f"t{self.named}"
            answer = self.searcher.suggest(name)
            if answer is None or answer is Searcher.FINISHED:
                break
            self.named += 1
            self.began[name] = clock.now
            epochs = self.cluster.store.record(self.searcher.keys[name])
            begun = len(epochs.epochs) if epochs else 0
            self.lengths[name] = self.cluster.epoch_s()
            heapq.heappush(self.events, (clock.now + START_S + self.lengths[name], name, begun + 1))
        if not self.events:
            return self.session.problem or self.stop.why
        moment, name, epoch = heapq.heappop(self.events)
        if moment > killed:
            clock.go_to(killed)
            self.cluster.used += sum(killed - began for began in self.began.values())
            return "killed"
        clock.go_to(moment)
        self._end_epoch(name, epoch)
        return ""

    def _end_epoch(self, name: str, epoch: int) -> None:
        key, store = self.searcher.keys[name], self.cluster.store
        known = self.session._live[key]
        began = AttemptBegan(known.epochs, (), "node") if epoch == len(known.epochs) + 1 else None
        metrics = {"val/miou": 0.5, EPOCH_SECONDS: self.lengths[name]}
        done = EpochDone(epoch, metrics, last=epoch == known.planned.epochs, began=began)
        store.write_epochs(key, 1, [*known.epochs, done.metrics])
        if not done.last:
            self.searcher.note_epoch(name, done)
            if not self.session.epoch(key, done) and not self.stop.requested:
                self.lengths[name] = self.cluster.epoch_s()
                later = self.cluster.clock.now + self.lengths[name]
                heapq.heappush(self.events, (later, name, epoch + 1))
                return
        self.searcher.on_trial_complete(name, {"outcome": done})
        self.cluster.used += self.cluster.clock.now - self.began.pop(name)
        self.cluster.ends += done.last


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Cluster]:
    path = tmp_path / "s.yaml"
    path.write_text(FILE)

    def cluster(budget: str, slots: int = 2, **named: object) -> Cluster:
        study = load(path, [f"budget={budget}"], env={})
        return Cluster(study, Store(str(tmp_path / "out"), "s"), slots, Clock(), **named)  # type: ignore[arg-type]

    return cluster


def promised(cluster: Cluster) -> list[int]:
    wanted = [Wanted("search", 6, TRIAL_S), Wanted("ablation", 12, TRIAL_S, block=3)]
    return [
        one.runs for one in bought(cluster.study.spec.budget, Spent(), wanted, gpus=0.5, slots=cluster.slots, now=0)
    ]


def ended(cluster: Cluster) -> list[int]:
    records = [record for record in cluster.store.records() if record.state.final]
    return [sum(record.planned.kind == kind for record in records) for kind in ("search", "ablation")]


@pytest.mark.parametrize("slots", [1, 2, 3, 5])
@pytest.mark.parametrize("trials", [5.0, 6.0, 8.5, 9.0, 14.2, 18.1])
def test_gpu_hours_buy_what_the_dry_run_says(make: Callable[..., Cluster], trials: float, slots: int) -> None:
    cluster = make(f"{{gpu_hours: {trials * TRIAL_S / 2 / HOUR_S}}}", slots)
    problem = cluster.launch()
    assert ended(cluster) == promised(cluster)
    assert sum(ended(cluster)) <= trials
    assert ended(cluster)[1] % 3 == 0, "whole blocks: all arms on a seed"
    assert cluster.used / 2 / HOUR_S <= cluster.study.spec.budget.gpu_hours * (1 + 1e-9)  # type: ignore[operator]
    assert (problem is None) == (trials > 18)
    assert problem is None or "trials of the" in problem or "is spent" in problem


@pytest.mark.parametrize("slots", [1, 2, 4])
@pytest.mark.parametrize("hours", [0.3, 0.42, 0.9, 3.0])
def test_hours_and_a_date_buy_what_the_dry_run_says(make: Callable[..., Cluster], hours: float, slots: int) -> None:
    cluster = make(f"{{hours: {hours}}}", slots)
    cluster.launch()
    assert ended(cluster) == promised(cluster)
    assert cluster.clock.now <= hours * HOUR_S + EPOCH_S


@pytest.mark.parametrize("seed", range(30))
def test_a_budget_holds_over_kills(make: Callable[..., Cluster], seed: int) -> None:
    draw = random.Random(seed)
    slots = draw.randint(1, 4)
    limit = draw.uniform(0.1, 1.2)
    wild: Callable[[], float] = lambda: draw.choice([EPOCH_S, 2 * EPOCH_S, 5 * EPOCH_S])  # noqa: E731
    times = iter([draw.uniform(20, 2000) for _ in range(4)])
    cluster = make(f"{{gpu_hours: {limit}}}", slots, epoch_s=wild, kills=times)
    launches = 0
    while cluster.launch() == "killed":
        launches += 1
        assert launches < 10
    assert cluster.used / 2 / HOUR_S <= limit + slots * 0.5 * 5 * EPOCH_S / HOUR_S, "an epoch per slot"
    spent = all_spent(cluster.store.objects)
    assert spent.gpu_hours >= cluster.used / 2 / HOUR_S - 1e-9, "nothing goes uncounted by a kill"
    assert spent.gpu_hours <= cluster.used / 2 / HOUR_S + launches * slots * 0.5 * WRITTEN_EVERY_S / HOUR_S + 1e-9


def test_a_larger_budget_goes_on_where_the_smaller_one_ended(make: Callable[..., Cluster]) -> None:
    small = make(f"{{gpu_hours: {3.4 * TRIAL_S / 2 / HOUR_S}}}")
    assert "budget.gpu_hours does not pay a further trial" in str(small.launch())
    assert ended(small) == [3, 0]
    large = make("{gpu_hours: 100}")
    large.clock = small.clock
    assert large.launch() is None
    assert ended(large) == [6, 12]


def test_an_interrupted_trial_costs_what_is_left_of_it(tmp_path: Path) -> None:
    ledger = Ledger(objects(tmp_path), Spent(100, 100, 0, {"n": 100}, 10), lambda: 0.0)
    budget = Budget(BudgetSection(gpu_hours=130 / HOUR_S), ledger)
    assert budget.lacks(Need(1, 4)) is not None
    assert budget.lacks(Need(1, 3)) is None
    assert budget.lacks(Need(1, 2), live_epochs=2) is not None


def test_a_limit_that_is_reached_is_named(tmp_path: Path) -> None:
    ledger = Ledger(objects(tmp_path), Spent(7200, 7200, 0, {"n": 7200}, 10), lambda: 0.0)
    texts = [
        Budget(BudgetSection(gpu_hours=2), ledger).over(),
        Budget(BudgetSection(hours=1), ledger).over(),
        Budget(BudgetSection(until="2020-01-01T00:00+00:00"), ledger).over(),
        Budget(BudgetSection(gpu_hours=2.1, hours=3, until="2100-01-01"), ledger).over(),
    ]
    assert [str(text).partition(":")[0] for text in texts] == [
        "budget.gpu_hours is spent", "budget.hours is spent", "budget.until is over", "None",
    ]  # fmt: skip


def test_what_is_used_is_counted_by_node(tmp_path: Path) -> None:
    clock = Clock()
    ledger = Ledger(objects(tmp_path), Spent(epochs=1), clock)
    ledger.begin("a", 0.5)
    ledger.begin("b", 2)
    clock.now = 10
    ledger.saw_epoch("a", "one", 7)
    clock.now = 20
    ledger.saw_epoch("a", "two")  # its worker was lost, another node goes on
    clock.now = 30
    ledger.end("a")
    assert ledger.spent == Spent(30, 60, 3, {"": 60, "one": 10, "two": 5}, 3)
    ledger.write()
    assert all_spent(objects(tmp_path)) == Spent(30, 60, 3, {"": 60, "one": 10, "two": 5}, 2)


def test_a_trial_of_one_epoch_is_counted_on_its_node(make: Callable[..., Cluster]) -> None:
    cluster = make("{gpu_hours: 9}", 1)
    assert cluster.launch() is None
    assert list(all_spent(cluster.store.objects).gpu_seconds) == ["node"]
    short = load(cluster.study.path, ["train.epochs=1"], env={})
    alone = Cluster(short, Store(f"{cluster.store.storage}/short", "s"), 1, Clock())
    assert alone.launch() is None
    assert list(all_spent(alone.store.objects).gpu_seconds) == ["node"]


def test_a_trial_that_begins_is_counted_at_once(tmp_path: Path) -> None:
    with Ledger(objects(tmp_path), Spent()) as ledger:
        ledger.begin("a", 1)
        end = time.monotonic() + 9
        while not all_spent(objects(tmp_path)).gpu_seconds and time.monotonic() < end:
            time.sleep(0.05)
        assert 10 <= all_spent(objects(tmp_path)).gpu_seconds[""] < 20, "and ten seconds ahead"
        ledger.end("a")
    assert all_spent(objects(tmp_path)).gpu_seconds[""] < 10


def test_a_damaged_count_is_named_and_counts_for_nothing(tmp_path: Path) -> None:
    Spent(1, 1, 0, {}, 1).write(objects(tmp_path), "a")
    Spent(2, 2, 0, {}, 2).write(objects(tmp_path), "b")
    (tmp_path / "out/s/spent-a.json").write_text("{}")
    warnings: list[str] = []
    assert all_spent(objects(tmp_path), warnings) == Spent(2, 2, 0, {}, 2)
    assert len(warnings) == 1
    assert "spent-a.json" in warnings[0]


def test_records_hold_no_trial_of_a_budget_that_pays_none(make: Callable[..., Cluster]) -> None:
    cluster = make("{until: 2001-01-02}")
    cluster.clock.now = 1_000_000_000.0
    assert "budget.until is over" in str(cluster.launch())
    kept: list[Record] = cluster.store.records()
    assert kept == []


def test_a_search_that_is_handed_out_needs_no_more(make: Callable[..., Cluster]) -> None:
    cluster = make(f"{{gpu_hours: {6.4 * TRIAL_S / 2 / HOUR_S}}}", 1)
    assert "does not pay a further block of 3 runs" in str(cluster.launch()), "of the search nothing is missing"
    assert ended(cluster) == [6, 0]
