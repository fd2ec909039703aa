"""What every `TrialSource` keeps to: both planners go through the same tests."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from orchestrator.plan.ablation import ablation
from orchestrator.plan.fixed import FixedPlanner
from orchestrator.plan.planner import Planner
from orchestrator.plan.trial_source import TrialSource
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Study

Make = Callable[..., Study]
Build = Callable[..., TrialSource]
"""A source of the same trials, given what earlier launches left."""
ABLATION = "ablation={design: arms, arms: {a: {suppression.alpha: 0.5}, b: {suppression.alpha: 2.0}}, seeds: 2}"
MEDIAN = "search.pruner={name: median, startup_trials: 1, grace_epochs: 1}"


def searching(study: Study) -> Build:
    return lambda records=(): Planner(study, records)


def comparing(study: Study) -> Build:
    runs = ablation(study, study.space.at_center(), lambda _config, _seeds: None).cells()

    def build(records: Sequence[Record] = ()) -> TrialSource:
        """As ``launch.stages`` does."""
        ended = {record.key for record in records if record.state.final}
        open_runs = [planned for planned in runs if planned.key not in ended]
        open_runs.sort(key=lambda planned: planned.key not in {record.key for record in records})
        return FixedPlanner(open_runs, len(runs), study.spec.objectives)

    return build


@pytest.fixture(params=[searching, comparing], ids=["Planner", "FixedPlanner"])
def build(request: pytest.FixtureRequest, study: Make) -> Build:
    return request.param(study(ABLATION, MEDIAN))


def epochs_of(planned: Planned, count: int | None = None) -> tuple[dict[str, float], ...]:
    """Later trials are worse, so that a pruner has something to stop."""
    number = planned.number + (10 if planned.kind == "search" else 0)
    last = planned.epochs if count is None else count
    return tuple({"val/miou": epoch / planned.epochs / (1 + number)} for epoch in range(1, last + 1))


def run(source: TrialSource, planned: Planned) -> Record:
    """A trial as the session runs it, and as a later launch reads it."""
    record = Record(planned)
    for epoch, metrics in enumerate(epochs_of(planned), start=1):
        record = record.with_epoch(epoch, metrics)
        if epoch < planned.epochs and source.report(planned, epoch, metrics):
            record = record.ended(State.PRUNED)
            break
    record, notes = source.finish(record if record.state.final else record.ended(State.COMPLETE))
    return replace(record, planned=replace(record.planned, system_attrs=notes))


def run_all(source: TrialSource) -> list[Record]:
    return [run(source, planned) for planned in iter(source.next, None)]


def test_every_trial_is_handed_out_once(build: Build) -> None:
    source = build()
    keys = [record.key for record in run_all(source)]
    assert len(keys) == len(set(keys)) == source.total > 3


def test_it_is_exhausted_where_there_is_no_next_one(build: Build) -> None:
    source = build()
    for _ in range(source.total):
        assert not source.exhausted
        assert source.next() is not None
    assert source.exhausted
    assert source.next() is None


def test_the_total_stays(build: Build) -> None:
    source = build()
    total, records = source.total, []
    for planned in iter(source.next, None):
        records.append(run(source, planned))
        assert source.total == build(records).total == total


@pytest.mark.parametrize("done", [0, 1, 3, 5])
def test_a_later_launch_hands_out_the_rest(build: Build, done: int) -> None:
    whole, source = run_all(build()), build()
    records = [run(source, planned) for planned, _ in zip(iter(source.next, None), range(done), strict=False)]
    rest = run_all(build(records))
    assert [(r.key, r.planned.config) for r in (*records, *rest)] == [(r.key, r.planned.config) for r in whole]


def test_unfinished_trials_come_first_under_their_own_keys(build: Build) -> None:
    source = build()
    planned = [source.next() for _ in range(5)]
    done, begun = [run(source, p) for p in planned[:3] if p], [p for p in planned[3:] if p]
    again = build([*done, *map(Record, begun)])
    assert [again.next(), again.next()] == begun
    following = again.next()
    assert following is None or following.key not in {p.key for p in planned if p}


def test_a_trial_that_ended_while_nobody_listened_is_settled_and_not_run_again(build: Build) -> None:
    source = build()
    whole, part, *_ = [p for _ in range(2) if (p := source.next()) is not None]
    records = [Record(whole, epochs_of(whole)), Record(part, epochs_of(part, 1))]
    again = build(records)
    settled = again.settle(records[0])
    assert settled is not None
    assert settled[0] == records[0].ended(State.COMPLETE)
    assert again.settle(records[1]) is None, "it has to run further"
    keys = [planned.key for planned in iter(again.next, None)]
    assert keys[0] == part.key
    assert whole.key not in keys


@pytest.mark.parametrize("last", [{}, {"val/miou": float("nan")}, {"val/miou": float("inf")}])
def test_a_complete_trial_without_a_finite_objective_fails(build: Build, last: dict[str, float]) -> None:
    source = build()
    planned = source.next()
    assert planned is not None
    record, _ = source.finish(Record(planned, ({"val/miou": 0.1}, last)).ended(State.COMPLETE))
    assert record.state is State.FAILED
    assert record.reason == f"epoch 2: the objective {source.objective.metric} is undefined"


def test_a_failure_stays_as_it_is(build: Build) -> None:
    source = build()
    planned = source.next()
    assert planned is not None
    failed = Record(planned, ({"val/miou": 0.1},)).ended(State.FAILED, "why")
    assert source.finish(failed)[0] == failed


def test_what_is_stopped_while_it_runs_would_be_stopped_afterwards(build: Build) -> None:
    source, records, stopped = build(), [], []
    for planned in iter(source.next, None):
        for count in range(1, planned.epochs):
            unheard = Record(planned, epochs_of(planned, count))
            verdict = build([*records, unheard]).verdict(unheard)
            if source.report(planned, count, epochs_of(planned)[count - 1]):
                assert verdict is not None
                assert (verdict.state, verdict.reason) == (State.PRUNED, f"stopped early after epoch {count}")
                stopped.append(planned.key)
                record, notes = source.finish(verdict)
                break
            assert verdict is None
        else:
            record, notes = source.finish(Record(planned, epochs_of(planned)).ended(State.COMPLETE))
        records.append(replace(record, planned=replace(planned, system_attrs=notes)))
    assert bool(stopped) == isinstance(source, Planner), "a comparison stops nothing early"


def test_what_a_later_launch_needs_is_plain_json(build: Build) -> None:
    source = build()
    planned = [p for _ in range(source.total) if (p := source.next()) is not None]
    for each in planned:
        source.report(each, 1, {"val/miou": 0.1})
        assert json.loads(json.dumps(source.notes(each))) == source.notes(each)


def test_a_reference_or_an_unfinished_trial_is_never_the_better_one(build: Build) -> None:
    source = build()
    records = run_all(source)
    best: Record | None = None
    for record in records:
        assert not source.better(record, record)
        assert not source.better(record.ended(State.FAILED), None)
        assert not source.better(replace(record, epochs=()), None)
        if source.better(record, best):
            assert record.planned.kind == "search"
            best = record
    scores = [r.last("val/miou") for r in records if r.planned.kind == "search" and r.state is State.COMPLETE]
    assert (best and best.last("val/miou")) == max(scores, default=None)
