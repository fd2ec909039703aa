"""What earlier launches left, as far as it belongs to the study as it is now written."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from orchestrator.errors import InputError
from orchestrator.launch.foreseen import foreseen
from orchestrator.launch.own_parts import check_parts_unchanged
from orchestrator.plan.confirmation import winner
from orchestrator.plan.trial_source import TrialSource
from orchestrator.store.addresses import absolute
from orchestrator.store.flat_config import flatten
from orchestrator.store.kept_weights import with_kept_weights
from orchestrator.store.layout import TrialFiles
from orchestrator.store.ranking import best
from orchestrator.store.records import Store
from orchestrator.store.shapes import unlike
from orchestrator.store.stage_plan import STAGES, StagePlan
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Choice, Study, objectives_of, reference
from orchestrator.studyfile.space.notation import is_domain
from trainable.config import TrialConfig, read_trial
from trainable.configfile.node import JsonObject
from trainable.evaluate.config import Evaluation
from trainable.model.config import WeightsFile
from trainable.model.run_reference import RUNS, WEIGHT_SUFFIXES

FREE = (
    "search.trials", "search.references", "search.warm_start", "confirm", "ablation", "resources.", "tracking.",
    "budget", "data.root", "model.encoder_weights.path", "model.weights.path",
)  # fmt: skip
"""Settings that decide how much is run and where, but not what a trial is; comparisons know their runs by content."""
FIXED = ("data.", "model.", "evaluation.", "objective", "train.epochs", "study")
"""Settings that decide what a trial's values mean: trials that differ in them cannot be compared."""
NEW_OF_MODEL: JsonObject = {"init": "torch", "weights": None}
"""Settings of the model that a study of an earlier version does not have, as it was trained."""

UNSEARCHED = (*STAGES, "prefix")
"""Kinds of trials that lie in no search space."""
AGAIN = "run again after: "
"""How the reason of a trial begins whose verdict was taken back."""


@dataclass(frozen=True)
class History:
    """Trials of earlier launches."""

    records: tuple[Record, ...]
    """Those that belong to the study."""
    outside: tuple[Record, ...] = ()
    """Those that lie outside its search space, which has changed: they stay where they are and count for nothing."""
    compared: tuple[Record, ...] = ()
    """Runs of comparisons, which belong to the study as their stage will say, and prefixes that runs may share."""
    notes: tuple[str, ...] = ()
    """What the user should know."""


def read_history(study: Study, store: Store, *, retry_failed: bool = False) -> History:
    """Read what is known of the study.

    Raises:
        InputError: the study has changed in what cannot change.
    """
    check_parts_unchanged(study, store)
    changed = _changes(study, store)
    read = [_read(study, store, record, retry_failed=retry_failed) for record in store.records()]
    compared = tuple(record for record, _ in read if record.planned.kind in UNSEARCHED)
    searched = [(record, fitted) for record, fitted in read if record.planned.kind not in UNSEARCHED]
    inside = tuple(fitted for _, fitted in searched if fitted is not None)
    outside = tuple(record for record, fitted in searched if fitted is None)
    if not searched or not (outside or changed):
        return History(inside, outside, compared)
    causes = [*changed, *(record.key for record in outside if record.planned.kind == "reference")]
    why = f" ({', '.join(causes)})" if causes else ""
    note = (
        f"The search space has changed{why}: {len(inside)} of {len(searched)} earlier trials lie in it and are used, "
        f"{len(outside)} are left out"
    )
    return History(inside, outside, compared, (note,))


def _read(study: Study, store: Store, record: Record, *, retry_failed: bool) -> tuple[Record, Record | None]:
    """The record as this launch goes on with it, and with its picks where it lies in the space; read only once."""
    config, record = _readable(study, store, record), _moved(study, record)
    if retry_failed and record.state is State.FAILED:
        record = record.ended(State.INTERRUPTED, f"{AGAIN}{record.reason}")
    return record, None if record.planned.kind in UNSEARCHED else _fitted(study, record, config)


def _readable(study: Study, store: Store, record: Record) -> TrialConfig:
    """The record's configuration; refuses, by its file, one that no trial of this version can be.

    Raises:
        InputError: its configuration is none, or it is complete without an objective.
    """
    files = TrialFiles(record.key)
    file = store.path(files.verdict if record.state.final else files.config)
    judged = record.state is State.COMPLETE and record.planned.kind != "prefix"
    problem = _without(study, record) if judged else ""
    try:
        config = read_trial(record.planned.config)
    except ValidationError as error:
        problem = unlike(error)
    if problem:
        raise InputError(f"{file}: {problem}; restore it, or remove the folder to run the trial anew")
    return config


def _without(study: Study, record: Record) -> str:
    lacking = [objective.metric for objective in study.spec.objectives if not record.has(objective.metric)]
    return f"complete, but its last epoch has no {', '.join(lacking)}" if lacking else ""


def fitted(study: Study, records: Iterable[Record]) -> list[Record]:
    """The records with picks located in the study's space as it is now, the same whichever launch ran them."""
    return [record if record.planned.kind in UNSEARCHED else _fitted(study, record) or record for record in records]


def settle(planner: TrialSource, store: Store, records: Sequence[Record]) -> list[Record]:
    """Give the trials that ended while no driver lived the verdict that nobody gave them.

    Returns:
        The records with the new verdicts. Their checkpoints are gone, but the last one of the best trial.
    """
    ended = {record.key: planner.settle(record) for record in records if not record.state.final}
    verdicts = {key: verdict for key, verdict in ended.items() if verdict is not None}
    settled = [verdicts[record.key][0] if record.key in verdicts else record for record in records]
    top = best(settled, planner.objective)
    beaten = best([record for record in settled if record.key not in verdicts], planner.objective)
    for record in settled:
        judged_now = record.key in verdicts and record.state is not State.FAILED
        if judged_now or (verdicts and record is beaten):
            keep = store.checkpoints(record.key)[:1] if record is top else store.kept_starts(record.planned)
            store.drop_checkpoints(record.key, keep=keep)
    for verdict in verdicts.values():  # last: after a kill in between, the epochs alone tell how a trial ended
        store.judge(*verdict)
    return settled


def import_trials(study: Study, store: Store, known: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Copy the complete trials of ``search.warm_start`` that lie in the space, once; returns them with notes.

    Raises:
        InputError: a study that is not there.
    """
    sources = {str(record.planned.system_attrs.get("imported_from")) for record in known}
    number = sum(record.planned.kind == "imported" for record in known)
    copies: list[Record] = []
    notes = []
    for name in study.spec.search.warm_start:
        complete = _complete_trials(study, store, name)
        before = len(copies)
        for record in complete:
            fitted, source = _fitted(study, record), f"{name}/{record.key}"
            if fitted is not None and source not in sources and _has_values(study, fitted):
                copies.append(_imported(fitted, source, number + len(copies)))
                store.judge(copies[-1], copies[-1].planned.system_attrs)
        count = len(copies) - before
        if count or not any(source.startswith(f"{name}/") for source in sources):
            notes.append(f"Imported {count} of {len(complete)} complete trials of {name}; the others differ in more")
    return copies, notes


def _complete_trials(study: Study, store: Store, name: str) -> list[Record]:
    """Complete trials of another study's search."""
    records = _other_study(study, store, name, "search.warm_start")[0].records()
    return [r for r in records if r.state is State.COMPLETE and r.planned.kind in ("search", "imported")]


def _imported(record: Record, source: str, number: int) -> Record:
    plan, attrs = record.planned, {"imported_from": source}
    return replace(
        record, planned=Planned(f"imported-{number:04d}", "imported", number, plan.config, plan.picks, attrs)
    )


def best_elsewhere(study: Study, store: Store, name: str) -> JsonObject:
    """Configuration of the best complete trial of another study in the same storage, confirmed where it confirms.

    Raises:
        InputError: no such study, or none of its trials is complete.
    """
    other, kept = _other_study(study, store, name, "ablation.baseline.best")
    objective, records = objectives_of(kept)[0], other.records()
    top, plan = best(records, objective), StagePlan.read(other.objects, "confirm")
    if plan is not None:
        confirmed = winner(records, plan, objective)
        top = next((record for record in records if record.key == confirmed), top)
    if top is None:
        raise InputError(f"{study.path}: ablation.baseline.best: no trial of {name} is complete")
    config = with_kept_weights(other, top.planned.config)
    return {key: value for key, value in config.items() if key not in ("preset", "seed")}


def _other_study(study: Study, store: Store, name: str, setting: str) -> tuple[Store, JsonObject]:
    """Another study in the same storage, and its specification."""
    other = Store(store.storage, name)
    kept = other.read_study()
    if kept is None:
        raise InputError(f"{study.path}: {setting}: {other.address} holds no study")
    return other, kept.specification


def _changes(study: Study, store: Store) -> list[str]:
    """Names of the settings of the search space that have changed since the last launch."""
    kept = store.read_study()
    if kept is None:
        return []
    before, now = flatten(_with_defaults(kept.specification)), flatten(study.resolved())
    changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    changed = [
        name for name in changed if not name.startswith(FREE) and not _both_files(before.get(name), now.get(name))
    ]
    fixed = [name for name in changed if name.startswith(FIXED)]
    if fixed:
        raise InputError(
            f"{study.path}: {store.address} holds a study that differs in {', '.join(fixed)}: its trials cannot be "
            "compared with these; give this one another name (--set study=NAME); search.warm_start imports what fits"
        )
    return changed


def _both_files(before: object, now: object) -> bool:
    """Whether a file has another name: what is in it decides of each trial whether it lies in the space."""
    return all(
        isinstance(value, str) and (value.endswith(WEIGHT_SUFFIXES) or value.startswith(RUNS))
        for value in (before, now)
    )


def _with_defaults(kept: JsonObject) -> JsonObject:
    """A study as it was kept, with the settings that came later: their defaults change nothing."""
    later: Mapping[str, JsonObject] = {"evaluation": Evaluation().model_dump(mode="json"), "model": NEW_OF_MODEL}
    sections = {name: section for name in later if isinstance(section := kept.get(name), dict)}
    return kept | {name: later[name] | section for name, section in sections.items() if not is_domain(section)}


def keep_retried(store: Store, records: Iterable[Record]) -> None:
    """Take back the verdicts of failed trials that run again: once nothing refuses the launch any more."""
    for record in records:
        if record.state is State.INTERRUPTED and (record.reason or "").startswith(AGAIN):
            store.judge(record, record.planned.system_attrs)


def _fitted(study: Study, record: Record, read: TrialConfig | None = None) -> Record | None:
    """The record with its picks in the study's space; None where it lies outside. ``read`` is what it was read to."""
    planned = record.planned
    if not study.spec.searched:
        return None
    root = _written_root(study, planned)
    if read is None:
        read, root = read_trial(_with_root(planned, root)), None
    config = read if root is None else read.model_copy(update={"data": read.data.model_copy(update={"root": root})})
    picks = study.space.locate(config)
    if planned.kind == "reference":
        names = study.spec.search.references
        inside = planned.number < len(names) and reference(study, names[planned.number], config.seed) == config
    else:
        inside = picks is not None
    return replace(record, planned=replace(planned, picks=picks)) if inside else None


def _moved(study: Study, record: Record) -> Record:
    """The record with data and weights where they lie on this machine, for the trials that are still to run."""
    root = _written_root(study, record.planned)
    if record.state.final:
        return record
    config = _with_root(record.planned, None if root is None else absolute(root))
    return replace(record, planned=replace(record.planned, config=_with_weights(study, config)))


def _with_weights(study: Study, config: JsonObject) -> JsonObject:
    """The configuration with its files of weights where the study now names equal ones."""
    model = read_trial(config).model
    known = [file for other in foreseen(study).models for file in (other.encoder_weights, other.weights)]
    now = {
        name: next((other for other in known if other == file), file)
        for name, file in (("encoder_weights", model.encoder_weights), ("weights", model.weights))
        if isinstance(file, WeightsFile)
    }
    return config | {"model": model.model_copy(update=now).model_dump(mode="json")} if now else config


def _written_root(study: Study, planned: Planned) -> str | None:
    """``data.root`` as the study writes it for the trial's data set; None where it writes none."""
    data = study.space.tree.get("data")
    sections = data.options if isinstance(data, Choice) else (data,)
    same = [s for s in sections if isinstance(s, dict) and s.get("name") == planned.data["name"]]
    root = same[0].get("root") if same else None
    return root if isinstance(root, str) else None


def _with_root(planned: Planned, root: str | None) -> JsonObject:
    return planned.config if root is None else {**planned.config, "data": {**planned.data, "root": root}}


def _has_values(study: Study, record: Record) -> bool:
    return all(record.has(objective.metric) for objective in study.spec.objectives)
