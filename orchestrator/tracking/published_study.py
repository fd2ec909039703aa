"""A study's directory -> what MLflow is told of it: by launches, and by ``python -m orchestrator.track``."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import JsonValue

from orchestrator.errors import InputError
from orchestrator.store import layout
from orchestrator.store.addresses import absolute
from orchestrator.store.data_fingerprints import data_fingerprint
from orchestrator.store.flat_config import flatten
from orchestrator.store.masking import shown_config, shown_text
from orchestrator.store.objects import DamagedError
from orchestrator.store.ranking import best
from orchestrator.store.records import Store
from orchestrator.store.stage_plan import STAGES, StagePlan
from orchestrator.store.trial_record import Record
from orchestrator.studyfile import Objective, TrackingSection, first_objective
from orchestrator.studyfile.loading import TRIAL_KEYS
from orchestrator.studyfile.space.notation import is_domain
from orchestrator.tracking import StudyInfo, redacted, tracking_uri
from orchestrator.tracking.provenance import versions
from orchestrator.tracking.study_info import DataSource
from orchestrator.tracking.trial_files import write_trial_files
from trainable.configfile.environment import expand
from trainable.configfile.mistakes import Mistake
from trainable.configfile.node import JsonObject, Node, Place
from trainable.data.errors import DataError

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"


def tracked_at(specification: JsonObject) -> str | None:
    """Where a study's runs go; None where it is not tracked.

    Raises:
        InputError: the address names an environment variable that is not set.
    """
    settings = TrackingSection.model_validate(specification["tracking"])
    if not settings.enabled:
        return None
    mistakes: list[Mistake] = []
    written = expand(Node(settings.uri, Place("tracking.uri")), os.environ, mistakes)
    if mistakes:
        raise InputError(f"tracking.uri: {mistakes[0].message}")
    return tracking_uri(None if written.value is None else str(written.value))


def is_behind(store: Store, uri: str) -> bool:
    """Whether the tracking server or database may lack something of the study."""
    try:
        noted = store.objects.read_json(layout.TRACKING)
    except DamagedError:
        return True
    return noted is None or noted.get("at") != _digest(uri) or not noted["complete"]


def note_tracking(store: Store, uri: str, *, complete: bool) -> None:
    """Keep whether the tracking server or database has everything of the study."""
    store.objects.write_json(layout.TRACKING, {"at": _digest(uri), "complete": complete})


def _digest(uri: str) -> str:
    """Tells one server or database from another without saying which: an address may hold a password."""
    name = uri.removeprefix(SQLITE)
    whole = absolute(name) if uri.startswith(SQLITE) else uri
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def track_command(store: Store) -> str:
    """What sends MLflow what it lacks of the study."""
    return f"python -m orchestrator.track {store.study} --storage {redacted(store.storage)}"


def final_metrics_of_study(records: Sequence[Record], objective: Objective) -> dict[str, float]:
    """Final metrics of the parent run: the best trial's last value."""
    top = best(records, objective)
    return {f"{objective.metric}/best": top.epochs[-1][objective.metric]} if top else {}


@dataclass(frozen=True, kw_only=True)
class PublishedStudy(StudyInfo):
    """A study as its directory tells it."""

    store: Store
    specification: JsonObject
    fingerprints: Mapping[str, str]
    """Of each data set, by its section."""

    def data(self, record: Record) -> DataSource:
        """The trial's data: the digest is of the data themselves, the settings are as written."""
        settings = flatten(self.shown(record).planned.data)
        source = str(settings.pop("root", "made in memory"))
        try:
            digest = data_fingerprint(record.planned.config, self.fingerprints)
        except DataError:  # of an imported trial; its files were never here
            digest = ""
        return DataSource(str(record.planned.data["name"]), digest, source, settings)

    def tags(self) -> Mapping[str, str]:
        """Versions and git commit."""
        return versions()

    def trial_tags(self, key: str) -> Mapping[str, str]:
        """What the latest worker wrote down of where it ran."""
        claim = self.store.last_claim(key) or {}
        return {name: str(claim[name]) for name in ("host", "gpu") if claim.get(name)}

    def plan_hash(self, kind: str) -> str | None:
        """Hash of the plan that the directory holds."""
        if kind not in STAGES:
            return None
        try:
            plan = StagePlan.read(self.store.objects, kind)
        except (DamagedError, InputError):  # the launch that needs it says so
            return None
        return plan.hash if plan else None

    def write_trial(self, record: Record, folder: Path) -> None:
        """Write the files of ``trial_files``."""
        write_trial_files(record, self.store, folder, self.from_env)

    def write_study(self, folder: Path) -> None:
        """Write the study file, its results and its report."""
        (folder / "study.yaml").write_text(redacted(yaml.safe_dump(self.specification, sort_keys=False)))
        for name in (layout.BEST, layout.TABLE, *self.store.objects.files(layout.REPORT)):
            content = self.store.objects.read(name)
            if content is None:
                continue
            if name == layout.BEST:
                content = shown_text(content.decode(), yaml.safe_load(content), self.from_env).encode()
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    def log_model(self, client: "MlflowClient", run_ids: Mapping[str, str]) -> None:
        """Keep the best trial's network with its run, where the study asks for it."""
        settings = TrackingSection.model_validate(self.specification["tracking"])
        record = best(self.store.records(), self.objective) if settings.model else None
        if record is not None and record.key in run_ids:
            from orchestrator.tracking.model import log_best_model  # late: smp and mlflow's models take seconds

            log_best_model(client, run_ids[record.key], self.store, record, register=settings.register_as)


def study_info(store: Store, draw_data: Callable[[Path], None] | None = None) -> PublishedStudy:
    """The study as its directory tells it.

    Args:
        store: A study that was launched.
        draw_data: Draws pictures of its data into a folder; None where they are not at hand.
    """
    kept = store.launched_study()
    tree, name = kept.specification, str(kept.specification["study"])
    return PublishedStudy(
        study_id=kept.id,
        name=name,
        experiment=TrackingSection.model_validate(tree["tracking"]).experiment or name,
        objective=first_objective(tree),
        settings=shown_config(tree, kept.from_env),
        from_env=kept.from_env,
        searched=tuple(_searched(tree)),
        draw_data=draw_data,
        store=store,
        specification=tree,
        fingerprints=kept.data,
    )


def _searched(tree: JsonObject) -> Iterator[str]:
    """Dotted parameters that differ between trials, in the order of the file."""
    for key in TRIAL_KEYS:
        yield from _domains(tree.get(key), key)
    ablation = tree.get("ablation")
    factors = ablation.get("factors") if isinstance(ablation, dict) else None
    yield from factors if isinstance(factors, dict) else ()


def _domains(value: JsonValue, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    if is_domain(value):
        options = value.get("choice")
        choices = options if isinstance(options, list) else ()
        yield f"{path}.name" if any(isinstance(option, dict) and "name" in option for option in choices) else path
    else:
        for key, child in value.items():
            yield from _domains(child, f"{path}.{key}")
