"""TPE from a table of the trials: Optuna's own suggestions, bit for bit, and a bound on what it looks at."""

import math
from collections.abc import Callable

import optuna
import pytest
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from orchestrator.plan import tpe
from orchestrator.plan.tpe import QuickGroupTPE, TrialTable

Sampler = Callable[[int], BaseSampler]
SEARCHES = {
    "minimize": (["minimize"], 120),
    "maximize": (["maximize"], 330),
    "several": (["maximize", "minimize"], 120),
}


def own(number: int) -> BaseSampler:
    return TPESampler(n_startup_trials=8, multivariate=True, group=True, constant_liar=True, seed=number)


def ours(table: TrialTable) -> Sampler:
    return lambda number: QuickGroupTPE(8, number, table)


def ask(study: optuna.Study) -> optuna.Trial:
    """Settings of four groups; equal picks, steps, logarithms and options among them."""
    trial = study.ask()
    trial.suggest_float("p", 0, 1)
    trial.suggest_float("step", 0, 1, step=0.25)
    if trial.suggest_categorical("layer", ["input", "encoder", "decoder"]) != "input":
        trial.suggest_float("alpha", 0.1, 1, log=True)
    if trial.params["layer"] == "decoder":
        trial.suggest_int("width", 1, 9)
        trial.suggest_int("log_width", 1, 90, log=True)
    return trial


def tell(study: optuna.Study, trial: optuna.Trial) -> None:
    """By its number a trial is pruned (before its first value, at one, at an undefined one), fails or is complete."""
    kind, several, values = trial.number % 12, len(study.directions) > 1, [round(trial.params["p"], 1)]
    if kind == 5:
        study.tell(trial, state=TrialState.FAIL)
    elif kind in (1, 2, 3, 7) and not several:
        if kind != 1:
            trial.report(math.nan if kind == 2 else values[0], kind)
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, [*values, trial.params["step"]] if several else values)


def searched(sampler: Sampler, directions: list[str], trials: int) -> optuna.Study:
    """Five run at a time and end in another order than they began; every 23rd goes on to the end."""
    study, live = optuna.create_study(directions=directions), []
    for number in range(trials):
        study.sampler = sampler(number)
        live.append(ask(study))
        if len(live) > 5 + number // 23:
            ended = live.pop(number % 5)
            if ended.number % 23:
                tell(study, ended)
            else:
                live.append(ended)
    return study


def picks(study: optuna.Study) -> list[dict[str, object]]:
    return [trial.params for trial in study.get_trials(deepcopy=False)]


@pytest.mark.parametrize(("directions", "trials"), SEARCHES.values(), ids=SEARCHES)
def test_suggestions_are_those_of_optunas_own(directions: list[str], trials: int) -> None:
    assert picks(searched(ours(TrialTable()), directions, trials)) == picks(searched(own, directions, trials))


@pytest.mark.parametrize("window", [10, tpe.WINDOW])
def test_a_table_that_reads_all_trials_at_once_is_no_other(monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr(tpe, "WINDOW", window)
    resumed = searched(lambda number: QuickGroupTPE(8, number, TrialTable()), ["maximize"], 100)
    assert picks(resumed) == picks(searched(ours(TrialTable()), ["maximize"], 100))


def test_a_window_leaves_the_best_of_all_trials_and_those_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tpe, "WINDOW", 40)
    table = TrialTable()
    study = searched(ours(table), ["maximize"], 200)
    ask(study)  # reads the last results
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    best = table.best(study)
    complete = [trial for trial in ended if trial.state is TrialState.COMPLETE]
    ranked = sorted(complete, key=lambda trial: -(trial.value or 0.0))
    assert best == sorted(trial.number for trial in ranked[: math.ceil(len(ended) / 10)])
    *runs, asked = [trial.number for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))]
    others = [trial.number for trial in ended if trial.number not in best]
    assert table.window(["p", "layer"], [*best, asked]).tolist() == sorted(others[-40:] + runs)
    wide = [trial.number for trial in ended if "width" in trial.params and trial.number not in best]
    assert set(wide[-40:]) <= set(table.window(["width"], best).tolist())


def test_trials_that_ended_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []

    def counted(self: TPESampler, trial: FrozenTrial, study: optuna.Study) -> dict[str, object]:
        if trial.state.is_finished():
            reads.append(trial.number)
        return trial.params if trial.state.is_finished() else original(self, trial, study)

    original = TPESampler._get_params
    monkeypatch.setattr(TPESampler, "_get_params", counted)
    searched(ours(TrialTable()), ["minimize"], 100)
    assert len(reads) == len(set(reads)) > 50


def test_an_option_that_was_taken_from_the_space_does_not_end_a_search() -> None:
    study = optuna.create_study()
    for number in range(12):
        study.add_trial(
            optuna.trial.create_trial(
                params={"layer": "input"},
                distributions={"layer": optuna.distributions.CategoricalDistribution(["input", "decoder"])},
                value=number,
            )
        )
    running = study.ask()
    study._storage.set_trial_system_attr(running._trial_id, "tpe:relative_params:0", '{"layer": "encoder"}')
    study.sampler = ours(TrialTable())(0)
    assert study.ask().suggest_categorical("layer", ["input", "decoder"]) in ("input", "decoder")
