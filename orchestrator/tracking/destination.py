"""Where a study's runs go, and whether everything of the study is there. Imports no mlflow."""

import hashlib
import os
from collections.abc import Sequence

from orchestrator.errors import InputError
from orchestrator.store import commands, layout
from orchestrator.store.addresses import absolute
from orchestrator.store.objects import DamagedError
from orchestrator.store.ranking import best
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record
from orchestrator.studyfile import Objective, TrackingSection
from trainable.configfile.environment import expand
from trainable.configfile.mistakes import Mistake
from trainable.configfile.node import JsonObject, Node, Place

SQLITE = "sqlite:///"
DEFAULT_URI = f"{SQLITE}mlflow.db"
"""MLflow's own default."""


def tracking_uri(configured: str | None) -> str:
    """Where runs go: the study's ``tracking.uri``, else MLFLOW_TRACKING_URI, else MLflow's own default."""
    return configured or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def ui_command(uri: str) -> str | None:
    """The command that serves MLflow's pages; None where ``uri`` is a server already."""
    if uri.startswith("http"):
        return None
    return commands.mlflow_ui(None if uri == DEFAULT_URI else uri)


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
    return commands.of_study("orchestrator.track", store.study, store.storage)


def final_metrics_of_study(records: Sequence[Record], objective: Objective) -> dict[str, float]:
    """Final metrics of the parent run: the best trial's last value."""
    top = best(records, objective)
    return {f"{objective.metric}/best": top.epochs[-1][objective.metric]} if top else {}
