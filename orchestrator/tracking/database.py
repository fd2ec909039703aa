"""A new SQLite database for MLflow, made whole: there or not there, never in between.

MLflow creates its tables one by one. A process killed meanwhile would leave a database that MLflow refuses from then on
("table ... already exists"), and two processes that create one at once disturb each other.
"""

import os
import re
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient

from orchestrator.tracking.destination import database_address, database_path, is_database_file

ARTIFACTS = "mlartifacts"
"""Folder of what runs keep beside their metrics, beside the database."""


def ensure_database(uri: str) -> None:
    """Create the database of a plain ``sqlite:///PATH`` where there is none; nothing for other addresses.

    Raises:
        MlflowException, OSError: it cannot be created.
    """
    if not is_database_file(uri) or (path := Path(database_path(uri))).exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with _written_at_the_end(fresh):
            MlflowClient(database_address(str(fresh))).search_experiments(max_results=1)
        _move(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def artifact_folder(uri: str, experiment: str) -> str | None:
    """Address of the folder for the artifacts of a new experiment: beside the database; None leaves it to MLflow.

    MLflow's own choice for a database is a folder below wherever the experiment's first launch was started.
    """
    if not is_database_file(uri):
        return None
    name = re.sub(r"[^\w.-]", "_", experiment).strip(".") or "_"  # runs below it have names of their own
    return Path(database_path(uri)).with_name(ARTIFACTS).joinpath(name).as_uri()


@contextmanager
def _written_at_the_end(fresh: Path) -> Iterator[None]:
    """Wait for the disk once and not at each of MLflow's 70 changes of its tables: nobody else knows the file yet."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def hurry(connection: object, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            (_, _, name) = connection.execute("PRAGMA database_list").fetchone()
            if os.path.realpath(name) == os.path.realpath(fresh):
                connection.execute("PRAGMA synchronous = OFF")
                connection.execute("PRAGMA journal_mode = MEMORY")

    event.listen(Engine, "connect", hurry)
    try:
        yield
    finally:
        event.remove(Engine, "connect", hurry)
    with fresh.open("rb") as file:
        os.fsync(file.fileno())


def _move(fresh: Path, path: Path) -> None:
    """Give the file its name unless another process was faster."""
    try:
        os.link(fresh, path)
    except FileExistsError:
        return
    except OSError:  # a filesystem without links
        if not path.exists():
            os.replace(fresh, path)
