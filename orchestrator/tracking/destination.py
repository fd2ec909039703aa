"""Where a study's runs go, and whether everything of the study is there. Imports no mlflow."""

import hashlib
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from urllib.parse import unquote

from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import InputError
from orchestrator.store import commands, layout
from orchestrator.store.addresses import redacted
from orchestrator.store.objects import DamagedError
from orchestrator.store.records import Store
from orchestrator.studyfile import TrackingSection
from trainable.configfile.environment import expand
from trainable.configfile.mistakes import Mistake
from trainable.configfile.node import JsonObject, Node, Place

SQLITE = "sqlite:///"
DEFAULT_URI = f"{SQLITE}mlflow.db"
"""MLflow's own default."""


def tracking_uri(configured: str | None) -> str:
    """Where runs go: the study's ``tracking.uri``, else MLFLOW_TRACKING_URI, else MLflow's own default."""
    return configured or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def uri_setting(configured: str | None) -> str:
    """What says where runs go, for messages."""
    if configured:
        return "tracking.uri"
    return "MLFLOW_TRACKING_URI" if os.environ.get("MLFLOW_TRACKING_URI") else "tracking.uri (by default)"


def is_database_file(uri: str) -> bool:
    """Whether the address names a file as an SQLite database, without options: ``sqlite:///PATH``."""
    name = uri.removeprefix(SQLITE)
    return uri.startswith(SQLITE) and bool(name) and "?" not in name and not name.startswith((":", "file:"))


def database_path(uri: str) -> str:
    """Absolute path of the file of ``sqlite:///PATH``, in which SQLAlchemy reads ``%20`` as a space."""
    return os.path.abspath(unquote(uri.removeprefix(SQLITE)))


def database_address(path: str) -> str:
    """The address of a file; `database_path` gives it back."""
    return SQLITE + os.path.abspath(path).replace("%", "%25").replace("?", "%3F")


def where_runs_are(uri: str) -> str:
    """The command that serves MLflow's pages, from any folder; the address alone where no command could."""
    if is_database_file(uri):
        uri = database_address(database_path(uri))
    serves = uri.partition(":")[0].partition("+")[0] in ("sqlite", "postgresql", "mysql", "mssql")
    whole = redacted(uri) == uri  # a command without its password would not run
    return commands.mlflow_ui(uri) if serves and whole else redacted(uri)


def tracked_at(specification: JsonObject) -> tuple[str | None, str]:
    """Where a study's runs go, None where it is not tracked, and what says so.

    Raises:
        InputError: the address names an environment variable that is not set.
    """
    settings = TrackingSection.model_validate(specification["tracking"])
    if not settings.enabled:
        return None, "tracking.enabled"
    mistakes: list[Mistake] = []
    written = expand(Node(settings.uri, Place("tracking.uri")), os.environ, mistakes)
    if mistakes:
        raise InputError(f"tracking.uri: {mistakes[0].message}")
    configured = None if written.value is None else str(written.value)
    return tracking_uri(configured), uri_setting(configured)


@dataclass(frozen=True)
class TrackingNote:
    """``tracking.json``: what a server or database has of the study."""

    at: str
    """Digest of its address."""
    complete: bool
    """Whether it has everything."""
    page: str | None = None
    """Address of the study's view of the runs."""


def is_behind(store: Store, uri: str) -> bool:
    """Whether the tracking server or database may lack something of the study."""
    note = _note(store, uri)
    return note is None or not note.complete or note.page is None


def noted_page(store: Store, settings: TrackingSection) -> str | None:
    """Address of the study's page, as the last launch that told MLflow of it knew it."""
    note = _note(store, tracking_uri(settings.uri)) if settings.enabled else None
    return note.page if note else None


def note_tracking(store: Store, uri: str, *, complete: bool, page: str | None = None) -> None:
    """Keep whether the tracking server or database has everything of the study, and where it shows it."""
    store.objects.write_json(layout.TRACKING, asdict(TrackingNote(_digest(uri), complete, page)))


_SHAPE: TypeAdapter[TrackingNote | None] = TypeAdapter(TrackingNote | None)


def _note(store: Store, uri: str) -> TrackingNote | None:
    """What is known of a server or database; None where that is nothing, or cannot be read."""
    with suppress(DamagedError, ValidationError):
        note = _SHAPE.validate_python(store.objects.read_json(layout.TRACKING))
        return note if note and note.at == _digest(uri) else None
    return None


def _digest(uri: str) -> str:
    """Tells one server or database from another without saying which: an address may hold a password."""
    whole = database_path(uri) if is_database_file(uri) else uri
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def track_command(store: Store) -> str:
    """What sends MLflow what it lacks of the study."""
    return commands.of_study("orchestrator.track", store.study, store.storage)
