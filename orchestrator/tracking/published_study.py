"""A study's directory -> what MLflow is told of it: by launches, and by ``python -m orchestrator.track``."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import InputError
from orchestrator.report.build import FOLDER as REPORT
from orchestrator.store.addresses import absolute
from orchestrator.store.data_fingerprints import data_fingerprint
from orchestrator.store.flat_config import flatten
from orchestrator.store.masking import hide
from orchestrator.store.objects import DamagedError
from orchestrator.store.ranking import best
from orchestrator.store.records import Store
from orchestrator.store.stage_plan import STAGES, StagePlan
from orchestrator.store.trial_record import Record
from orchestrator.studyfile import Objective, TrackingSection, first_objective
from orchestrator.studyfile.space.notation import is_domain
from orchestrator.studyfile.space.trees import TRIAL_KEYS
from orchestrator.tracking import StudyInfo, redacted, tracking_uri
from orchestrator.tracking.provenance import versions
from orchestrator.tracking.study_info import DataSource
from orchestrator.tracking.trial_files import write_trial_files
from trainable.data.errors import DataError

SQLITE = "sqlite:///"
STATE = "tracking.json"
"""Where a study keeps whether MLflow has everything."""


def tracked_at(tree: Mapping[str, Any]) -> str | None:
    """Where a study's runs go; None where it is not tracked.

    Raises:
        InputError: the address names an environment variable that is not set.
    """
    settings = TrackingSection.model_validate(tree["tracking"])
    if not settings.enabled:
        return None
    return tracking_uri(None if settings.uri is None else _expanded(settings.uri))


def is_behind(store: Store, uri: str) -> bool:
    """Whether the tracking server or database may lack something of the study."""
    try:
        kept = store.objects.read_json(STATE)
    except DamagedError:
        return True
    return kept is None or kept.get("at") != _place(uri) or not kept["complete"]


def note_tracking(store: Store, uri: str, *, complete: bool) -> None:
    """Keep whether the tracking server or database has everything of the study."""
    store.objects.write_json(STATE, {"at": _place(uri), "complete": complete})


def _place(uri: str) -> str:
    """Tells one server or database from another without saying which: an address may hold a password."""
    name = uri.removeprefix(SQLITE)
    whole = absolute(name) if uri.startswith(SQLITE) else uri
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def track_command(store: Store) -> str:
    """What sends MLflow what it lacks of the study."""
    return f"python -m orchestrator.track {store.study} --storage {redacted(store.storage)}"


def summary(records: Sequence[Record], objective: Objective) -> dict[str, float]:
    """Final metrics of the parent run: the best trial's last value."""
    top = best(records, objective)
    return {f"{objective.metric}/best": top.epochs[-1][objective.metric]} if top else {}


def study_info(store: Store, draw_data: Callable[[Path], None] | None = None) -> StudyInfo:
    """The study as its directory tells it.

    Args:
        store: A study that was launched.
        draw_data: Draws pictures of its data into a folder; None where they are not at hand.
    """
    tree, study_id = store.read_study(), store.study_id()
    assert tree is not None
    settings = TrackingSection.model_validate(tree["tracking"])
    assert study_id is not None
    fingerprints = store.read_data()
    from_env = store.read_from_env()
    return StudyInfo(
        study_id=study_id,
        name=str(tree["study"]),
        experiment=settings.experiment or str(tree["study"]),
        objective=first_objective(tree),
        settings=tree,
        from_env=from_env,
        data=partial(_data, fingerprints, from_env),
        tags=versions,
        trial_tags=partial(_trial_tags, store),
        searched=tuple(_searched(tree)),
        plan_hash=partial(_plan_hash, store),
        write_trial=lambda record, folder: write_trial_files(record, store, folder, from_env),
        write_study=partial(_write_study, store, tree),
        draw_data=draw_data,
        log_model=partial(_log_model, store, first_objective(tree), settings.register_as) if settings.model else None,
    )


def _data(fingerprints: Mapping[str, str], from_env: Mapping[str, str], config: Mapping[str, Any]) -> DataSource:
    section = config["data"]
    written = {f"data.{name}": value for name, value in flatten(section).items()}
    shown = {name.removeprefix("data."): from_env.get(name, value) for name, value in written.items()}
    source = shown.pop("root", "made in memory")
    try:
        digest = data_fingerprint(config, fingerprints)
    except DataError:  # of an imported trial; its files were never here
        digest = ""
    return DataSource(section["name"], digest, str(source), shown)


def _trial_tags(store: Store, key: str) -> dict[str, str]:
    """What the latest worker wrote down of where it ran."""
    claim = store.last_claim(key) or {}
    return {name: str(claim[name]) for name in ("host", "gpu") if claim.get(name)}


def _plan_hash(store: Store, kind: str) -> str | None:
    """Of the stage whose runs are of this kind; None where that is no comparison."""
    if kind not in STAGES:
        return None
    try:
        plan = StagePlan.read(store.objects, kind)
    except DamagedError:  # the launch that needs it says so
        return None
    return plan.hash if plan else None


def _searched(tree: Mapping[str, Any]) -> Iterator[str]:
    """Dotted parameters that differ between trials, in the order of the file."""
    for key in TRIAL_KEYS:
        yield from _domains(tree.get(key), key)
    factors = (tree.get("ablation") or {}).get("factors") or {}
    yield from factors


def _domains(value: Any, path: str) -> Iterator[str]:
    if is_domain(value):
        named = any(isinstance(option, dict) and "name" in option for option in value.get("choice", ()))
        yield f"{path}.name" if named else path
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _domains(child, f"{path}.{key}")


def _log_model(
    store: Store, objective: Objective, register_as: str | None, client: Any, run_ids: Mapping[str, str]
) -> None:
    """Keep the best trial's network with its run."""
    record = best(store.records(), objective)
    if record is not None and record.key in run_ids:
        from orchestrator.tracking.model import log_best_model  # late: smp and mlflow's models take seconds to import

        log_best_model(client, run_ids[record.key], store, record, register=register_as)


def _write_study(store: Store, tree: Mapping[str, Any], folder: Path) -> None:
    """The study file, its results and its report."""
    (folder / "study.yaml").write_text(redacted(yaml.safe_dump(dict(tree), sort_keys=False)))
    best_trial = store.objects.read("best.yaml")
    if best_trial is not None:
        text = best_trial.decode()
        (folder / "best.yaml").write_text(hide(text, yaml.safe_load(text), store.read_from_env()))
    for name in ("results.parquet", *store.objects.files(REPORT)):
        content = store.objects.read(name)
        if content is not None:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def _expanded(text: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise InputError(f"tracking.uri: ${{{match[1]}}} is not set in the environment")
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w+)\}", value, text)
