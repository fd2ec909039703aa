"""Which searched settings the scores vary with: fANOVA and PED-ANOVA, on an Optuna study rebuilt from the table.

Descriptive: they explain the scores of the trials that were run, not what a setting does.
Sources: Hutter, Hoos, Leyton-Brown, ICML 2014 (fANOVA); Watanabe, Bansal, Hutter, IJCAI 2023 (PED-ANOVA).
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.errors import one_line
from orchestrator.report.sections.searched_settings import Knobs, varied
from orchestrator.report.source import Results, Run

if TYPE_CHECKING:
    import optuna
    from optuna.importance import BaseImportanceEvaluator

FEWEST_TRIALS, PER_SETTING = 20, 4
"""With fewer complete trials, or fewer for each setting that is rated, a forest explains noise."""
MOST_TRIALS = 300
"""fANOVA's forest takes seconds with more: of these many trials, evenly spread over the search."""
TREES = 32
"""Half of Optuna's default, for the same reason."""
FANOVA, PED_ANOVA = "fANOVA", "PED-ANOVA"
MEANING = {
    FANOVA: "fANOVA: the share of the scores' variance, over the whole space, that a setting alone explains. Large: "
    "good and bad scores differ in it.",
    PED_ANOVA: "PED-ANOVA: how far the best tenth of the trials differs from all in a setting. Large: the best "
    "scores need particular values of it.",
}
"""What each method says, in a sentence."""


@dataclass(frozen=True)
class Importance:
    """Shares that add up to 1, by setting, or why there are none."""

    method: str
    shares: Mapping[str, float]
    why_not: str = ""


def importances(results: Results, knobs: Knobs, trials: Sequence[Run], metric: str) -> list[Importance]:
    """Importance for a metric, by both methods, of the settings that all of the complete search trials have."""
    scored = [trial for trial in trials if knobs.picks[trial.key] and results.last(trial, metric) is not None]
    names = [name for name in varied(knobs, scored) if name not in knobs.conditional]
    why_not = _why_not(results, scored, names, metric)
    if why_not:
        return [Importance(method, {}, why_not) for method in (FANOVA, PED_ANOVA)]
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator  # late: sklearn takes a second

    spread = [scored[i] for i in np.unique(np.linspace(0, len(scored) - 1, MOST_TRIALS).round().astype(int))]
    study = _rebuilt(results, knobs, spread, names, metric)
    return [
        _evaluated(study, names, FANOVA, FanovaImportanceEvaluator(n_trees=TREES, seed=0)),
        _evaluated(study, names, PED_ANOVA, PedAnovaImportanceEvaluator()),
    ]


def _why_not(results: Results, trials: Sequence[Run], names: Sequence[str], metric: str) -> str:
    least = max(FEWEST_TRIALS, PER_SETTING * len(names))
    if len(trials) < least:
        why = f"{PER_SETTING} for each of {len(names)} settings" if least > FEWEST_TRIALS else "fewer explain chance"
        return f"only {len(trials)} complete trials lie in the search space; {least} are the least ({why})"
    if len(names) < 2:
        return "fewer than two settings vary over all trials, so there is nothing to share out"
    if len({results.last(trial, metric) for trial in trials}) < 2:
        return "all trials have the same score"
    return ""


def _rebuilt(
    results: Results, knobs: Knobs, trials: Sequence[Run], names: Sequence[str], metric: str
) -> "optuna.Study":
    import optuna

    from orchestrator.plan.samplers import distribution

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    greater = results.greater_is_better(metric)
    study = optuna.create_study(direction="maximize" if greater else "minimize")
    distributions = {name: distribution(knobs.domains[name]) for name in names}
    for trial in trials:
        picks = {name: knobs.picks[trial.key][name] for name in names}
        value = results.last(trial, metric)
        assert value is not None  # trials without one were left out
        study.add_trial(optuna.trial.create_trial(params=picks, distributions=distributions, values=[value]))
    return study


def _evaluated(
    study: "optuna.Study", names: Sequence[str], method: str, evaluator: "BaseImportanceEvaluator"
) -> Importance:
    from optuna.importance import get_param_importances

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shares = get_param_importances(study, evaluator=evaluator, params=list(names))
    except (ValueError, RuntimeError) as error:  # the method's own conditions on values and settings
        return Importance(method, {}, one_line(error))
    if not np.isfinite(list(shares.values())).all() or sum(shares.values()) <= 0:
        return Importance(method, {}, "no setting explains any of the scores")
    return Importance(method, {name: float(shares[name]) for name in names})
