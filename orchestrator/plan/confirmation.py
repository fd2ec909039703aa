"""The confirm stage: the best configurations of a search and the reference trials, on fresh seeds."""

import json
from collections.abc import Sequence
from statistics import fmean

from orchestrator.plan.comparison import Comparison, block_seeds, registered_looks, without_equal
from orchestrator.store.ranking import block_values
from orchestrator.store.stage_plan import Arm, StagePlan
from orchestrator.store.trial_record import Record
from orchestrator.studyfile import Objective, Study, reference
from orchestrator.studyfile.sections.looks import most_seeds
from orchestrator.studyfile.space.trees import content
from trainable.config import TrialConfig
from trainable.data.config import DataConfig
from trainable.data.layout import DataError, check_data, labelled_test_split


def confirmation(study: Study, leaders: Sequence[Record]) -> Comparison:
    """The best of the leaders and the reference trials on fresh seeds, and on the test split at the end.

    ``leaders`` are the trials of the search, the best first; of several objectives its Pareto front, of which the
    confirmed configurations are spread from one end to the other.
    """
    section, search = study.spec.confirm, study.spec.search
    assert section is not None
    different = _different(study, leaders)
    chosen = _spread(different, section.top) if len(study.spec.objectives) > 1 else different[: section.top]
    # leaders first: one that equals a reference keeps its own name
    configs = {record.key: _of_picks(study, record) for record in chosen}
    configs |= {name: reference(study, name, 0) for name in search.references}
    tested = {name: _tested(config) for name, config in configs.items()}
    arms = [Arm(name) for name in search.references]
    arms += [Arm(record.key, dict(record.planned.picks or {})) for record in chosen]
    baseline = arms[0].name
    plan = StagePlan(
        "confirm",
        "confirm",
        baseline,
        tuple(arms),
        block_seeds(search.seed, "confirm", most_seeds(section.seeds)),
        base={name: json.loads(content(config)) for name, config in tested.items()},
        looks=registered_looks(section.seeds),
    )
    return without_equal(plan, tested)


def few_leaders(top: int, count: int) -> str:
    """That fewer trials are confirmed than the study asks for."""
    return f"confirm.top is {top}, but the search has {count} different trials: {count} will be confirmed"


def _different(study: Study, leaders: Sequence[Record]) -> list[Record]:
    """The leaders without those that equal a better one: imported trials may."""
    first = {content(_of_picks(study, record)): record for record in reversed(leaders)}
    return [record for record in leaders if first[content(_of_picks(study, record))] is record]


def _spread(front: Sequence[Record], top: int) -> list[Record]:
    """So many of a front in the order of its first objective, at equal steps, both ends among them."""
    if top == 1:
        return list(front[:1])
    last = len(front) - 1
    places = dict.fromkeys(round(step * last / (top - 1)) for step in range(top))
    return [front[place] for place in places]


def winner(records: Sequence[Record], plan: StagePlan, objective: Objective) -> str | None:
    """The trial of the search with the best mean over the fresh seeds, by its key; None where none has a value.

    Where runs failed, the mean is over the seeds that all candidates have: other seeds would not compare.
    """
    values = block_values(records, plan, lambda record: record.last(objective.metric))
    candidates = [arm.name for arm in plan.arms if arm.levels and values[arm.name]]
    common = set.intersection(*(set(values[name]) for name in candidates)) if candidates else set()
    most = max((len(values[name]) for name in candidates), default=0)
    if not common:  # then those with most seeds
        candidates = [name for name in candidates if len(values[name]) == most]
    means = {name: fmean(values[name][block] for block in common or values[name]) for name in candidates}
    sign = 1 if objective.mode == "max" else -1
    return max(means, key=lambda name: sign * means[name], default=None)


def usable_test_split(data: DataConfig) -> DataConfig | None:
    """The data section of the labelled test split; None where the data have none, or its folders are not there."""
    section = labelled_test_split(data)
    try:
        if section is not None:
            check_data(section)
    except DataError:
        return None
    return section


def _of_picks(study: Study, record: Record) -> TrialConfig:
    picks = record.planned.picks or {}
    return study.space.trial(lambda name, _: picks[name], 0)


def _tested(config: TrialConfig) -> TrialConfig:
    """The trial, scored on the labelled test split at its end where the data have one."""
    if usable_test_split(config.data) is None:
        return config
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"test_at_end": True})})
