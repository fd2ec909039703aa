"""What earlier launches left, as far as it belongs to the study as it is now written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import InputError
from orchestrator.plan.confirmation import winner
from orchestrator.plan.fixed import FixedPlanner
from orchestrator.plan.planner import Planner
from orchestrator.store.addresses import absolute
from orchestrator.store.flat_config import flatten
from orchestrator.store.ranking import best
from orchestrator.store.records import Store
from orchestrator.store.stage_plan import StagePlan
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Choice, Study, first_objective, reference
from orchestrator.studyfile.space.notation import is_domain
from trainable.config import read_trial
from trainable.configfile.node import JsonObject
from trainable.evaluate.config import Evaluation

FREE = (
    "search.trials",
    "search.references",
    "search.warm_start",
    "confirm",
    "ablation",
    "resources.",
    "tracking.",
    "data.root",
)
"""Settings that decide how much is run and where, but not what a trial is; comparisons know their runs by content."""
FIXED = ("data.", "model.", "evaluation.", "objective", "train.epochs", "study")
"""Settings that decide what a trial's values mean: trials that differ in them cannot be compared."""


@dataclass(frozen=True)
class History:
    """Trials of earlier launches."""

    records: tuple[Record, ...]
    """Those that belong to the study."""
    outside: tuple[Record, ...] = ()
    """Those that lie outside its search space, which has changed: they stay where they are and count for nothing."""
    compared: tuple[Record, ...] = ()
    """Runs of comparisons; which of them belong to the study is known when their stage begins."""
    notes: tuple[str, ...] = ()
    """What the user should know."""


def read_history(study: Study, store: Store, *, retry_failed: bool = False) -> History:
    """Read what is known of the study.

    Raises:
        InputError: the study has changed in what cannot change.
    """
    changed = _changes(study, store)
    records = []
    for record in (_moved(study, record) for record in store.records()):
        if record.state is State.FAILED and retry_failed:
            record = record.ended(State.INTERRUPTED, f"run again after: {record.reason}")
            store.judge(record, record.planned.system_attrs)
        records.append(record)
    compared = tuple(record for record in records if record.planned.kind in ("confirm", "ablation"))
    records = [record for record in records if record.planned.kind not in ("confirm", "ablation")]
    fitting = [(record, _fitted(study, record)) for record in records]
    inside = tuple(fitted for _, fitted in fitting if fitted is not None)
    outside = tuple(record for record, fitted in fitting if fitted is None)
    if not outside and not changed:
        return History(inside, compared=compared)
    why = f" ({', '.join(changed)})" if changed else ""
    note = (
        f"The search space has changed{why}: {len(inside)} of {len(records)} earlier trials lie in it and are used, "
        f"{len(outside)} are left out"
    )
    return History(inside, outside, compared, (note,) if records else ())


def settle(planner: Planner | FixedPlanner, store: Store, records: Sequence[Record]) -> list[Record]:
    """Give the trials that ended while no driver lived the verdict that nobody gave them.

    Args:
        planner: Of this launch; it knows the records.
        store: Where verdicts are kept.
        records: Those of earlier launches.

    Returns:
        The records with the new verdicts. Their checkpoints are gone, but the last one of the best trial.
    """
    ended = {record.key: planner.settle(record) for record in records if not record.state.final}
    verdicts = {key: verdict for key, verdict in ended.items() if verdict is not None}
    found = [verdicts[record.key][0] if record.key in verdicts else record for record in records]
    top = best(found, planner.objective)
    beaten = best([record for record in found if record.key not in verdicts], planner.objective)
    for record in found:
        mine = record.key in verdicts and record.state is not State.FAILED
        if mine or (verdicts and record is beaten):
            keep = store.checkpoints(record.key)[:1] if record is top else []
            store.drop_checkpoints(record.key, keep=keep)
    for verdict in verdicts.values():  # last: after a kill in between, the epochs alone tell how a trial ended
        store.judge(*verdict)
    return found


def import_trials(study: Study, store: Store, known: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Copy the complete trials of ``search.warm_start`` that lie in the space, once; returns them with notes.

    Raises:
        InputError: a study that is not there.
    """
    done = {record.planned.system_attrs.get("imported_from") for record in known}
    number = sum(record.planned.kind == "imported" for record in known)
    found: list[Record] = []
    notes = []
    for name in study.spec.search.warm_start:
        other = Store(store.storage, name)
        if other.read_study() is None:
            raise InputError(f"{study.path}: search.warm_start: {other.address} holds no study")
        complete = [
            r for r in other.records() if r.state is State.COMPLETE and r.planned.kind in ("search", "imported")
        ]
        count = 0
        for record in complete:
            fitted = _fitted(study, record)
            source = f"{name}/{record.key}"
            if fitted is None or source in done or not _has_values(study, fitted):
                continue
            attrs: JsonObject = {"imported_from": source}
            planned = Planned(
                f"imported-{number:04d}", "imported", number, record.planned.config, fitted.planned.picks, attrs
            )
            copied = replace(fitted, planned=planned)
            store.judge(copied, attrs)
            found.append(copied)
            number, count = number + 1, count + 1
        if count or not any(str(source).startswith(f"{name}/") for source in done):
            notes.append(f"Imported {count} of {len(complete)} complete trials of {name}; the others differ in more")
    return found, notes


def best_elsewhere(study: Study, store: Store, name: str) -> dict[str, Any]:
    """Configuration of the best complete trial of another study in the same storage, confirmed where it confirms.

    Raises:
        InputError: no such study, or none of its trials is complete.
    """
    other = Store(store.storage, name)
    kept = other.read_study()
    where = f"{study.path}: ablation.baseline.best"
    if kept is None:
        raise InputError(f"{where}: {other.address} holds no study")
    objective, records = first_objective(kept), other.records()
    top, plan = best(records, objective), StagePlan.read(other.objects, "confirm")
    if plan is not None:
        runs = [record for record in records if record.planned.kind == "confirm"]
        confirmed = winner(runs, plan, objective)
        top = next((record for record in records if record.key == confirmed), top)
    if top is None:
        raise InputError(f"{where}: no trial of {name} is complete")
    return {key: value for key, value in top.planned.config.items() if key not in ("preset", "seed")}


def _changes(study: Study, store: Store) -> list[str]:
    """Names of the settings of the search space that have changed since the last launch."""
    kept: Mapping[str, Any] | None = store.read_study()
    if kept is None:
        return []
    before, now = flatten(_with_defaults(kept)), flatten(study.resolved())
    changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    changed = [name for name in changed if not name.startswith(FREE)]
    fixed = [name for name in changed if name.startswith(FIXED)]
    if fixed:
        raise InputError(
            f"{study.path}: {store.address} holds a study that differs in {', '.join(fixed)}: its trials cannot be "
            "compared with these; give this one another name (--set study=NAME); search.warm_start imports what fits"
        )
    return changed


def _with_defaults(kept: Mapping[str, Any]) -> dict[str, Any]:
    """A study as it was kept, with the settings of the evaluation that came later: their defaults change nothing."""
    written = kept.get("evaluation")
    if not isinstance(written, Mapping) or is_domain(written):
        return dict(kept)
    return {**kept, "evaluation": Evaluation().model_dump(mode="json") | dict(written)}


def _fitted(study: Study, record: Record) -> Record | None:
    """The record with its picks in the study's space; None where it lies outside."""
    planned = record.planned
    if not study.spec.searched:
        return None
    tree = _with_root(planned.config, _written_root(study, planned.config))
    config = read_trial(tree)
    if planned.kind == "reference":
        names = study.spec.search.references
        same = planned.number < len(names) and reference(study, names[planned.number], config.seed) == config
        return record if same else None
    picks = study.space.locate(config)
    return None if picks is None else replace(record, planned=replace(planned, picks=dict(picks)))


def _moved(study: Study, record: Record) -> Record:
    """The record with the data's root as it is on this machine, for the trials that are still to run."""
    root = _written_root(study, record.planned.config)
    if record.state.final or root is None:
        return record
    config = _with_root(record.planned.config, absolute(root))
    return replace(record, planned=replace(record.planned, config=config))


def _written_root(study: Study, config: Mapping[str, Any]) -> str | None:
    """``data.root`` as the study writes it for the trial's data set; None where it writes none."""
    data = study.space.tree.get("data")
    sections = data.options if isinstance(data, Choice) else (data,)
    same = [s for s in sections if isinstance(s, dict) and s.get("name") == config["data"]["name"]]
    root = same[0].get("root") if same else None
    return root if isinstance(root, str) else None


def _with_root(config: Mapping[str, Any], root: str | None) -> dict[str, Any]:
    return dict(config) if root is None else {**config, "data": {**config["data"], "root": root}}


def _has_values(study: Study, record: Record) -> bool:
    return all(record.last(objective.metric) is not None for objective in study.spec.objectives)
