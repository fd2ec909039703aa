"""Whether MLflow could take runs at an address, told before the first trial. Imports no mlflow, which takes 2 s.

Two things are told apart. An address where no run will ever arrive (no scheme of MLflow's, a folder of files, a file
that is no database, a host that does not exist, a server of something else) is a mistake of the user's. A server that
is merely away is none: the study runs, and MLflow gets what it lacks when it is back.
"""

import os
import re
import sqlite3
from contextlib import closing
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orchestrator.errors import InputError, one_line
from orchestrator.store.addresses import absolute, redacted
from orchestrator.studyfile import Study
from orchestrator.tracking.destination import (
    SQLITE,
    database_address,
    database_path,
    is_database_file,
    tracking_uri,
    uri_setting,
)
from orchestrator.tracking.schema_version import schema_problem
from orchestrator.tracking.server_check import NotMLflow, server_trouble
from trainable.configfile.mistakes import unknown

if TYPE_CHECKING:
    from sqlalchemy import URL

SERVERS = ("http", "https")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
WAYS_OUT = "a database is sqlite:///PATH (or postgresql://, mysql://, mssql://), a server http://HOST:PORT"


def check_tracking(study: Study) -> str | None:
    """Check where a study's runs go, if anywhere; as `check_address`."""
    settings = study.spec.tracking
    setting = f"{study.path}: tracking.uri" if settings.uri else uri_setting(None)
    return check_address(tracking_uri(settings.uri), setting) if settings.enabled else None


def check_address(uri: str, setting: str) -> str | None:
    """Refuse an address that MLflow cannot use.

    Args:
        uri: Where runs are to go.
        setting: What names it, for the message: ``tracking.uri``, ``MLFLOW_TRACKING_URI``, ``--uri``.

    Returns:
        One line about a server that does not answer now, which stops no study; else None.

    Raises:
        InputError: no run will ever arrive there.
    """
    trouble = trouble_at(uri, setting)
    if trouble is None:
        return None
    behind = "the study runs all the same, and MLflow gets what it lacks when it answers"
    return redacted(f"warning: {setting}: {uri} does not answer ({trouble}): {behind}")


def trouble_at(uri: str, setting: str) -> str | None:
    """Why a server does not answer now; None where one does, or where the address is of none; as `check_address`."""
    try:
        if _scheme(uri) in SERVERS:
            return _server(uri)
        _check_other(uri)
    except (NotMLflow, ValueError) as error:  # ValueError: urllib's own, of what is no address
        raise InputError(one_line(InputError(f"{setting}: {redacted(uri)}: {redacted(str(error))}"))) from error
    return None


def _scheme(uri: str) -> str:
    """The scheme without its driver: of ``postgresql+psycopg2://h/db`` postgresql."""
    return urlsplit(uri).scheme.partition("+")[0]


def _server(uri: str) -> str | None:
    parts = urlsplit(uri)
    if not parts.hostname:
        raise NotMLflow(f"names no host; {WAYS_OUT}")
    _ = parts.port  # raises where it is none
    return server_trouble(uri)


def _check_other(uri: str) -> None:
    scheme = _scheme(uri)
    if uri == "databricks" or scheme == "databricks" or scheme in entry_points(group="mlflow.tracking_store").names:
        return  # of a service or a plugin: MLflow's own matter
    if scheme in DATABASES:
        _check_database(uri)
    elif re.match(r"[\w.-]+:\d+(/|$)", uri):
        raise NotMLflow(f"has no scheme; did you mean http://{uri}?")
    elif scheme in ("", "file"):
        _refuse_files(uri)
    else:
        raise NotMLflow(f"{unknown(scheme, (*SERVERS, *DATABASES), 'scheme')}; {WAYS_OUT}")


def _refuse_files(uri: str) -> None:
    """Refuse what MLflow takes for a folder of files."""
    if os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1"):
        return
    folder = urlsplit(uri).path if uri.startswith("file:") else uri
    target = database_address("mlflow.db")
    hint = f"; the runs of such a folder move by  mlflow migrate-filestore --source DIR --target {target}"
    if Path(folder).is_file():
        hint = f"; did you mean {database_address(folder)}?"
    raise NotMLflow(f"a folder of files, to which MLflow {version('mlflow')} writes no more: {WAYS_OUT}{hint}")


def _check_database(uri: str) -> None:
    if is_database_file(uri):
        _check_file(database_path(uri))
        return
    from sqlalchemy import make_url  # late: it takes half a second to import
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        url = make_url(uri)
        dialect = url.get_dialect()
        dialect.import_dbapi()
    except ImportError as error:
        raise NotMLflow(f"needs the Python package of the module {error.name}, which is not installed here") from error
    except NoSuchModuleError as error:
        raise NotMLflow(f"names an unknown driver; {WAYS_OUT}") from error
    except ArgumentError as error:
        raise NotMLflow(f"is no address of a database; {WAYS_OUT}") from error
    if dialect.name == "sqlite":
        _check_sqlite(url)


def _check_sqlite(url: "URL") -> None:
    """Check what names no file in the plain way."""
    name = url.database or ":memory:"
    if name == ":memory:":
        file = url.host or "PATH"  # two slashes make a host of it
        raise NotMLflow(
            f"a database in memory, which ends with the launch; a file is {SQLITE}{file}, with three slashes"
        )
    if url.query.get("mode") == "ro":
        raise NotMLflow("opens the database for reading only (mode=ro)")
    if not name.startswith("file:"):
        _check_file(name)


def _check_file(name: str) -> None:
    path = Path(name)
    if path.is_dir():
        raise NotMLflow(f"is a folder; a database is a file, such as {database_address(name)}/mlflow.db")
    _check_writable(path)
    if path.exists() and path.stat().st_size:
        _check_contents(path)


def _check_writable(path: Path) -> None:
    """Refuse a database that cannot be written, or a folder in which SQLite cannot write its journal."""
    folder = Path(absolute(str(path))).parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise NotMLflow(f"{folder} is not a folder")
    for place, needed in ((folder, os.W_OK | os.X_OK), (path, os.R_OK | os.W_OK)):
        if place.exists() and not os.access(place, needed):
            raise NotMLflow(f"{absolute(str(place))} cannot be written to")


def _check_contents(path: Path) -> None:
    """Refuse a file that is no database of this MLflow's; nothing is written.

    Except by SQLite, which takes back what a killed process has half written: it would refuse to in mode ro.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=1.0)) as database:
            problem = schema_problem(database, str(path))
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):  # another process writes to it, so it is one
            return
        raise NotMLflow(f"cannot be used as a database: {error}") from error
    if problem:
        raise NotMLflow(problem)
