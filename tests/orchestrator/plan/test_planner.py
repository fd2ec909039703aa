"""The planner, without Ray: what is handed out, in which order, and what a later launch makes of the records."""

from collections.abc import Callable, Iterator

import pytest

from orchestrator.plan.planner import Planner, derive_seed
from orchestrator.store.ranking import best
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Study
from trainable.config import TrialConfig

Make = Callable[..., Study]
FLAT = "suppression.sampling={name: uniform}"


def score(planned: Planned, epoch: int) -> float:
    suppression = planned.config["suppression"] or {"p_max": 0.0}
    return epoch * (1 - abs(suppression["p_max"] - 0.3)) / planned.config["train"]["epochs"]


def run(planner: Planner, planned: Planned) -> Record:
    """A whole trial, as the session would run it."""
    record = Record(planned)
    for epoch in range(1, planned.config["train"]["epochs"] + 1):
        metrics = {"val/miou": score(planned, epoch), "train/loss": 1 / epoch}
        record = record.with_epoch(epoch, metrics)
        last = epoch == planned.config["train"]["epochs"]
        if not last and planner.report(planned, epoch, metrics):
            record, attrs = planner.finish(record.ended(State.PRUNED))
            break
        if last:
            record, attrs = planner.finish(record.ended(State.COMPLETE))
    return Record(
        Planned(planned.key, planned.kind, planned.number, planned.config, planned.picks, attrs),
        record.epochs,
        record.state,
        record.reason,
    )


def run_all(planner: Planner, limit: int = 1000) -> Iterator[Record]:
    for _ in range(limit):
        planned = planner.next()
        if planned is None:
            return
        yield run(planner, planned)


def test_references_first_then_the_budget_then_nothing(study: Make) -> None:
    planner = Planner(study())
    records = list(run_all(planner))
    references = [f"reference-{name}" for name in ("plain", "plain_small", "official")]
    assert [r.key for r in records[:4]] == [*references, "search-0000"]
    assert len(records) == planner.total == 9
    assert planner.exhausted
    assert planner.next() is None


def test_every_configuration_is_valid_and_the_references_are_what_they_say(study: Make) -> None:
    configs = {p.key: TrialConfig.model_validate(p.config, strict=False) for p in iter(Planner(study()).next, None)}
    assert configs["reference-plain"].suppression is None
    official = configs["reference-official"].suppression
    assert official is not None
    assert (official.p_max, official.alpha, official.schedule.name, official.gate_norm) == (1.0, 10.0, "linear", "none")
    small = configs["reference-plain_small"]
    assert small.suppression is None
    init = {key: config.model.init for key, config in configs.items() if key.startswith("reference")}
    assert init == {"reference-plain": "torch", "reference-plain_small": "small", "reference-official": "small"}
    assert configs["reference-plain"].seed == small.seed == configs["reference-official"].seed
    assert len({config.seed for key, config in configs.items() if key.startswith("search")}) == 6


SAMPLERS = {
    "tpe": ["search.sampler={name: tpe, startup_trials: 3}"],
    "gp": ["search.sampler={name: gp, startup_trials: 3}", FLAT],
    "random": ["search.sampler=random"],
    "qmc": ["search.sampler=qmc", FLAT],
    "nsgaii": ["search.sampler={name: nsgaii, population: 3}"],
    "cmaes": ["search.sampler=cmaes", FLAT],
    "grid": ["search.sampler=grid", FLAT, "suppression.alpha=1.0", "suppression.p_max={uniform: [0, 1], step: 0.1}"],
}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_planner_rebuilt_from_the_records_suggests_what_the_undisturbed_one_would(study: Make, sampler: str) -> None:
    loaded = study(*SAMPLERS[sampler], "search.trials=9")
    undisturbed = list(run_all(Planner(loaded)))
    for cut in (1, 4, 8):
        first = list(run_all(Planner(loaded), limit=cut))
        resumed = first + list(run_all(Planner(loaded, first)))
        assert [(r.key, r.planned.picks) for r in resumed] == [(r.key, r.planned.picks) for r in undisturbed]


@pytest.mark.parametrize(
    "pruner", ["asha", "hyperband", "{name: median, startup_trials: 2}", "{name: patient, patience: 1}"]
)
def test_a_rebuilt_pruner_decides_alike(study: Make, pruner: str) -> None:
    loaded = study(f"search.pruner={pruner}", "train.epochs=9", "search.trials=12")
    undisturbed = list(run_all(Planner(loaded)))
    first = list(run_all(Planner(loaded), limit=7))
    resumed = first + list(run_all(Planner(loaded, first)))
    assert [(r.key, r.state, len(r.epochs)) for r in resumed] == [(r.key, r.state, len(r.epochs)) for r in undisturbed]
    if "patient" not in pruner:
        assert State.PRUNED in {r.state for r in undisturbed}
    assert {r.state for r in undisturbed if r.planned.kind == "reference"} == {State.COMPLETE}


def test_a_trial_that_never_improves_is_given_up_by_patience(study: Make) -> None:
    planner = Planner(study("search.pruner={name: patient, patience: 1}", "train.epochs=9", "search.references=[]"))
    planned = planner.next()
    assert planned is not None
    verdicts = [planner.report(planned, epoch, {"val/miou": 1 / epoch}) for epoch in range(1, 5)]
    assert verdicts[0] is False
    assert verdicts[-1] is True


def test_unfinished_trials_are_handed_out_first_under_their_own_keys(study: Make) -> None:
    loaded = study()
    planner = Planner(loaded)
    done = list(run_all(planner, limit=4))
    open_trials = [planner.next(), planner.next()]
    records = [*done, *(Record(planned) for planned in open_trials if planned)]
    again = Planner(loaded, records)
    assert [again.next(), again.next()] == open_trials
    following = again.next()
    assert following is not None
    assert following.key == "search-0003"


def test_a_longer_budget_continues_the_numbers(study: Make) -> None:
    records = list(run_all(Planner(study())))
    longer = Planner(study("search.trials=8"), records)
    assert [r.key for r in run_all(longer)] == ["search-0006", "search-0007"]


def test_a_finite_space_is_tried_without_repeats_and_ends_the_search(study: Make) -> None:
    finite = ["suppression.alpha=1.0", "suppression.p_max={choice: [0.1, 0.5]}", FLAT, "search.trials=50"]
    for sampler in ("tpe", "random", "grid"):
        planner = Planner(study(*finite, f"search.sampler={sampler}", "search.references=[]"))
        records = list(run_all(planner))
        assert sorted(r.planned.picks["suppression.p_max"] for r in records if r.planned.picks) == [0.1, 0.5]


def test_a_complete_trial_whose_objective_is_undefined_fails_with_its_epoch(study: Make) -> None:
    planner = Planner(study("search.references=[]"))
    for metrics in ({}, {"val/miou": float("nan")}):
        planned = planner.next()
        assert planned is not None
        record, _ = planner.finish(Record(planned, ({"val/miou": 0.1}, metrics)).ended(State.COMPLETE))
        assert record.state is State.FAILED
        assert record.reason == "epoch 2: the objective val/miou is undefined"


def test_several_objectives_are_told_together(study: Make) -> None:
    objectives = "objective=[{metric: val/miou, mode: max}, {metric: train/loss, mode: min}]"
    planner = Planner(study(objectives, "search.sampler=nsgaii"))
    assert {record.state for record in run_all(planner)} == {State.COMPLETE}
    front = planner._optuna.study.best_trials
    assert front
    assert all(len(trial.values) == 2 for trial in front)


def test_only_references_inside_the_space_are_told_to_optuna(study: Make) -> None:
    official = ["suppression.gate_norm=none", "model.init=small"]
    for overrides, told in ((official, 7), (official[:1], 6), (["suppression.gate_norm=mean", official[1]], 6)):
        planner = Planner(study(*overrides))  # the plain ones are in none of the spaces
        list(run_all(planner))
        assert len(planner._optuna.study.trials) == told


def test_seeds_differ_by_part_and_study() -> None:
    assert derive_seed(0, 1) != derive_seed(0, 2)
    assert derive_seed(0, 1) != derive_seed(1, 1)
    assert derive_seed(0, 1) == derive_seed(0, 1)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_of_equal_trials_the_first_keeps_its_checkpoint_whichever_ends_first(study: Make, mode: str) -> None:
    planner = Planner(study(f"objective.mode={mode}", "search.references=[]"))
    one, two = (Record(planner.next(), ({"val/miou": 0.0},) * 3).ended(State.COMPLETE) for _ in range(2))
    assert planner.better(one, two)
    assert not planner.better(two, one)
    assert best([two, one][::-1], planner.objective) is one
