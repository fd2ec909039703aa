"""What a searcher hands Ray for trials whose shares are measured, and where a trial goes whose node is gone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_watch import AmpleCluster, unlimited
from ray.tune.search import Searcher

from orchestrator.driver.adapters import MeasuredMemory, PlannedSearcher, PruningScheduler
from orchestrator.driver.capacity import Demand, has_room
from orchestrator.driver.packing import Card
from orchestrator.driver.session import Session
from orchestrator.driver.sharing import Sharing
from orchestrator.driver.stop import Stop
from orchestrator.plan.planner import Planner
from orchestrator.store.gpu_peaks import GpuPeaks
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Setback, State
from orchestrator.studyfile import Study
from orchestrator.worker.job import EpochDone, Failed, Interrupted, Job, Measured, RanOut

Make = Callable[..., Study]
GIB = 2**30
LAST = EpochDone(4, {"val/miou": 0.5}, last=True)


class Cluster(AmpleCluster):
    """Nodes with GPUs of their own kinds, that may be lost."""

    def __init__(self, cards: dict[str, int]) -> None:
        super().__init__()
        self.cards = cards

    def has_room(self, live: Sequence[Demand], another: Demand) -> bool:  # type: ignore[override]
        return has_room([{"CPU": 8.0, "GPU": 1.0, node: 1.0} for node in self.cards], live, another)

    def known(self) -> list[Card]:
        totals = set(self.cards.values())
        return [Card(*card) for card in self.cards.items()] if len(totals) > 1 else [Card(None, totals.pop())]


@pytest.fixture
def make(study: Make, tmp_path: Path) -> Callable[..., PlannedSearcher]:
    def searcher(cluster: Cluster, *overrides: str) -> PlannedSearcher:
        store, stop = Store(f"{tmp_path}/out", "s"), Stop("again", lambda _: None)
        stop.say = lambda _: None
        stop.settle()
        planner = Planner(study("search.references=[]", "search.trials=2", "resources.gpu=auto", *overrides))
        session = Session(planner, store, [], say=lambda _: None)
        sharing = Sharing(1, GpuPeaks(store.objects), cluster.known, lambda _: None)
        watch: Any = cluster
        memory = MeasuredMemory(sharing, "p:p")

        def job_of(planned: Any) -> Job:
            return Job(planned, store.storage, "s", "x", "f:f")

        return PlannedSearcher(session, job_of, Demand(1, 1), watch, unlimited(), stop, retries=3, memory=memory)

    return searcher


def complete(searcher: PlannedSearcher, trial: str, outcome: object) -> None:
    searcher.on_trial_complete(trial, {"outcome": outcome})  # type: ignore[dict-item]


def test_a_probe_comes_first_and_its_trial_after_it(make: Callable[..., PlannedSearcher]) -> None:
    searcher = make(Cluster({"node:a": 24 * GIB}))
    probe = searcher.suggest("a")
    assert (probe["job"].probe, probe["bundle"]) == ("p:p", {"CPU": 1, "GPU": 1.0})
    assert searcher.suggest("b") is None, "the GPU is taken"
    complete(searcher, "a", Measured(4 * GIB, 24 * GIB))
    first, second = searcher.suggest("b"), searcher.suggest("c")
    for trial in (first, second):
        assert (trial["job"].probe, trial["job"].rung) == (None, "shared")
        assert trial["job"].gpu == trial["bundle"]["GPU"] == 0.2178
    assert probe["job"].planned == first["job"].planned != second["job"].planned
    assert searcher.suggest("d") is None, "those that run may come back"
    complete(searcher, "b", LAST)
    complete(searcher, "c", LAST)
    assert searcher.suggest("d") == Searcher.FINISHED


@pytest.mark.parametrize("outcome", [None, Failed("the model cannot take the batch"), Interrupted("a full disk")])
def test_what_cannot_be_measured_runs_alone(make: Callable[..., PlannedSearcher], outcome: object) -> None:
    searcher = make(Cluster({"node:a": 24 * GIB}))
    searcher.suggest("a")
    if outcome is None:
        searcher.on_trial_complete("a", error=True)
    else:
        complete(searcher, "a", outcome)
    trial = searcher.suggest("b")
    assert (trial["job"].probe, trial["bundle"]["GPU"]) == (None, 1.0)


def test_a_probe_for_which_a_part_is_too_small_waits_for_a_whole_gpu(make: Callable[..., PlannedSearcher]) -> None:
    cluster = Cluster({"node:a": 24 * GIB})
    searcher = make(cluster, "model.encoder={choice: [resnet18, resnet34]}", "search.sampler=grid",
                    "suppression={choice: [null]}", "search.trials=null")  # fmt: skip
    searcher.suggest("a")
    complete(searcher, "a", Measured(4 * GIB, 24 * GIB))
    assert searcher.suggest("b")["job"].probe is None
    second = searcher.suggest("c")
    assert (second["job"].probe, second["bundle"]["GPU"]) == ("p:p", 0.5)
    complete(searcher, "c", RanOut(Setback(1, "shared", 0.5, "probe", 14 * GIB, 11 * GIB, GIB, 24 * GIB)))
    assert searcher.suggest("d") is None
    complete(searcher, "b", LAST)
    assert searcher.suggest("d")["bundle"]["GPU"] == 1.0
    complete(searcher, "d", RanOut(Setback(1, "shared", 1, "probe", 25 * GIB, 23 * GIB, GIB, 24 * GIB)))
    assert searcher.suggest("e") == Searcher.FINISHED
    states = {record.key: record for record in searcher._session._store.records()}
    assert [record.state for record in states.values()] == [State.COMPLETE, State.FAILED]
    assert "needs 25.6 GiB of GPU memory, the largest GPU has 24.0" in str([*states.values()][1].reason)


def test_shares_are_those_of_each_nodes_card_and_follow_it(make: Callable[..., PlannedSearcher]) -> None:
    cluster = Cluster({"node:a": 80 * GIB, "node:b": 24 * GIB, "node:c": 8 * GIB})
    searcher = make(cluster)
    assert searcher.suggest("a")["bundle"] == {"CPU": 1, "GPU": 1.0, "node:a": 0.001}, "measured on the largest"
    complete(searcher, "a", Measured(10 * GIB, 80 * GIB))
    assert searcher.suggest("b")["bundle"] == {"CPU": 1, "GPU": 0.5053, "node:b": 0.001}, "the one it fills best"
    assert searcher.moved("b") is None
    del cluster.cards["node:b"]
    moved = searcher.moved("b")
    assert moved is not None
    assert moved["bundle"] == {"CPU": 1, "GPU": 0.1516, "node:a": 0.001}
    assert moved["job"].gpu == 0.1516


class LostTrial:
    """As much of Ray's trial as is looked at where its worker was lost."""

    trial_id, error_file = "b", None

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.resources: Any = None

    def should_recover(self) -> bool:
        return True

    def update_resources(self, resources: Any) -> None:
        self.resources = resources


def test_a_trial_whose_node_is_lost_asks_ray_for_another_place(make: Callable[..., PlannedSearcher]) -> None:
    cluster = Cluster({"node:a": 80 * GIB, "node:b": 24 * GIB, "node:c": 8 * GIB})
    searcher = make(cluster)
    searcher.suggest("a")
    complete(searcher, "a", Measured(10 * GIB, 80 * GIB))
    trial: Any = LostTrial(searcher.suggest("b"))
    scheduler = PruningScheduler(searcher._session, searcher, searcher._stop)
    scheduler.on_trial_error(None, trial)
    assert trial.resources is None, "only its worker was lost"
    del cluster.cards["node:b"]
    scheduler.on_trial_error(None, trial)
    assert trial.resources.bundles == [{"CPU": 1, "GPU": 0.1516, "node:a": 0.001}]
    assert trial.config["job"].gpu == 0.1516


def test_where_nothing_may_begin_any_more_what_waits_is_left_to_the_next_launch(
    make: Callable[..., PlannedSearcher],
) -> None:
    searcher = make(Cluster({"node:a": 24 * GIB}))
    searcher.suggest("a")
    complete(searcher, "a", Measured(4 * GIB, 24 * GIB))
    searcher.suggest("b")
    searcher.suggest("c")
    complete(searcher, "b", RanOut(Setback(1, "shared", 0.2178, "step 1", 5 * GIB, 4 * GIB, GIB, 24 * GIB)))
    assert searcher.suggest("d") is None, "it waits for a whole GPU"
    searcher._session.give_up("the budget is over")
    assert searcher.suggest("d") == Searcher.FINISHED
    complete(searcher, "c", RanOut(Setback(1, "shared", 0.2178, "step 1", 5 * GIB, 4 * GIB, GIB, 24 * GIB)))
    records = searcher._session._store.records()
    assert [(record.state, len(record.setbacks)) for record in records] == [(State.INTERRUPTED, 0)] * 2
    assert not searcher._session.running
