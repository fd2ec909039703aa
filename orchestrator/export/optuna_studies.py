"""Trials of a study -> Optuna's own: one study of the search, one of the references, one of each comparison.

References and runs of comparisons are no trials of the search: Optuna's best trial and importances would then speak of
what the search never picked. They lie in studies of their own beside it.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import JsonValue

from orchestrator.export.shown_study import ShownStudy, ShownTrial
from orchestrator.plan.samplers import distribution
from orchestrator.store.stage_plan import StagePlan
from orchestrator.store.trial_record import State, reference_name

Direction = Literal["maximize", "minimize"]
Params = Mapping[str, str | int | float | bool | None]
_STATES = {State.PRUNED: TrialState.PRUNED, State.FAILED: TrialState.FAIL}


@dataclass(frozen=True)
class OptunaTrials:
    """A study of Optuna's, before it is written."""

    name: str
    directions: tuple[Direction, ...]
    metrics: tuple[str, ...]
    trials: tuple[FrozenTrial, ...]
    attrs: Mapping[str, JsonValue]
    """What it is, for whoever reads it."""
    left_out: tuple[str, ...] = ()
    """Keys of trials that it cannot hold: they lie outside the space, or their arm is no more."""


def optuna_studies(study: ShownStudy) -> list[OptunaTrials]:
    """All that Optuna can be told of a study; empty ones are left out, unless nothing else is there."""
    made = [_made(study, "", "search", _search(study)), _made(study, "/references", "references", _references(study))]
    made += [_made(study, f"/{stage}", stage, _comparison(study, plan)) for stage, plan in study.plans.items()]
    return [one for one in made if one.trials or one.left_out] or made[:1]


Placed = tuple[ShownTrial, Params | None, Mapping[str, BaseDistribution]]
"""A trial, its parameters (None: it has no place) and their distributions."""


def _made(study: ShownStudy, suffix: str, part: str, placed: Iterator[Placed]) -> OptunaTrials:
    trials, left_out = [], []
    for trial, params, distributions in placed:
        if params is None:
            left_out.append(trial.key)
        else:
            trials.append(_frozen(study, trial, params, distributions))
    return OptunaTrials(
        name=f"{study.name}{suffix}",
        directions=tuple("maximize" if objective.mode == "max" else "minimize" for objective in study.objectives),
        metrics=tuple(objective.metric for objective in study.objectives),
        trials=tuple(trials),
        attrs={"study": study.name, "part": part} | _plan_attrs(study, part),
        left_out=tuple(left_out),
    )


def _plan_attrs(study: ShownStudy, part: str) -> dict[str, JsonValue]:
    plan = study.plan_of(part)
    if plan is None:
        return {}
    return {"baseline": plan.baseline, "design": plan.design, "seeds": list(plan.seeds), "plan_hash": plan.hash}


def _search(study: ShownStudy) -> Iterator[Placed]:
    distributions = {name: distribution(domain) for name, domain in study.domains.items()}
    for trial in study.of("search", "imported"):
        picks = study.picks(trial)
        yield trial, picks, {name: distributions[name] for name in picks or ()}


def _references(study: ShownStudy) -> Iterator[Placed]:
    trials = study.of("reference")
    names = CategoricalDistribution([_reference(trial) for trial in trials]) if trials else None
    for trial in trials:
        assert names is not None
        yield trial, {"reference": _reference(trial)}, {"reference": names}


def _reference(trial: ShownTrial) -> str:
    return reference_name(trial.key)


def _comparison(study: ShownStudy, plan: StagePlan) -> Iterator[Placed]:
    """Runs by what their arm sets of each factor; by its name where the design has no factors."""
    factors = {path: _labels(levels) for path, levels in plan.factors.items()}
    arms: dict[str, dict[str, str]] = {
        arm.name: {path: _label(arm.levels.get(path, plan.factors[path][0]), factors[path]) for path in factors}
        for arm in plan.arms
    }
    choices = {path: list(labels.values()) for path, labels in factors.items()}
    if not factors:
        arms, choices = {arm.name: {"arm": arm.name} for arm in plan.arms}, {"arm": [arm.name for arm in plan.arms]}
    distributions = {path: CategoricalDistribution(labels) for path, labels in choices.items()}
    for trial in study.of(plan.stage):
        yield trial, arms.get(trial.record.planned.arm or ""), distributions


def _labels(levels: Sequence[JsonValue]) -> dict[str, str]:
    """A text for each level, by its JSON: texts as they are, unless two levels would look alike."""
    texts = [level if isinstance(level, str) else json.dumps(level) for level in levels]
    codes = [json.dumps(level, sort_keys=True) for level in levels]
    return dict(zip(codes, texts if len(set(texts)) == len(texts) else codes, strict=True))


def _label(level: JsonValue, labels: Mapping[str, str]) -> str:
    code = json.dumps(level, sort_keys=True)
    return labels.get(code) or next(iter(labels.values()))


def _frozen(
    study: ShownStudy, trial: ShownTrial, params: Params, distributions: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    record, objectives = trial.record, study.objectives
    state = TrialState.COMPLETE if study.has_values(trial) else _STATES.get(record.state, TrialState.RUNNING)
    if record.state is State.COMPLETE and state is not TrialState.COMPLETE:
        state = TrialState.FAIL  # its last epoch has no value that can be compared
    steps = trial.finite(objectives[0].metric) if len(objectives) == 1 else {}  # Optuna has none of several objectives
    values = [record.epochs[-1][o.metric] for o in objectives] if state is TrialState.COMPLETE else None
    if state is TrialState.PRUNED and steps:
        values = [steps[max(steps)]]
    frozen = create_trial(
        state=state,
        values=values,
        params=dict(params),
        distributions={name: distributions[name] for name in params},
        intermediate_values=steps,
        user_attrs=_attrs(study, trial) | _unplaced(trial, params),
    )
    frozen.datetime_start = datetime.fromtimestamp(trial.start)
    frozen.datetime_complete = datetime.fromtimestamp(trial.end) if state.is_finished() else None
    return frozen


def _unplaced(trial: ShownTrial, params: Params) -> dict[str, JsonValue]:
    """Picks from ranges that are kept with the name of an environment variable in place of a bound."""
    picks = trial.record.planned.picks or {}
    return {f"pick {name}": value for name, value in picks.items() if name not in params}


def _attrs(study: ShownStudy, trial: ShownTrial) -> dict[str, JsonValue]:
    """What else is known of a trial: which one it is, how it ended, and every metric of its last epoch."""
    record, planned = trial.record, trial.record.planned
    best = record.best_epoch(study.objectives[0])
    attrs: dict[str, JsonValue] = {
        "trial": record.key,
        "kind": planned.kind,
        "arm": planned.arm,
        "block": planned.block,
        "seed": planned.config["seed"],
        "state": record.state.value,
        "reason": record.reason,
        "epochs": len(record.epochs),
        "imported_from": planned.system_attrs.get("imported_from"),
        "best_epoch": None if best is None else best.epoch,
        "best_epoch_value": None if best is None else best.value,
    }
    last = record.epochs[-1] if record.epochs else {}
    attrs |= {name: last[name] for name in sorted(last) if math.isfinite(last[name])}
    return {name: value for name, value in attrs.items() if value is not None}
