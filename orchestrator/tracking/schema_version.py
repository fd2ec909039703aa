"""Whether an SQLite database has the tables of the installed MLflow. Imports no mlflow."""

import re
import shlex
import sqlite3
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from orchestrator.tracking.destination import database_address

_REVISION = re.compile(r'^(revision|down_revision)\s*=\s*["\'](\w+)["\']', re.MULTILINE)


def schema_problem(database: sqlite3.Connection, name: str) -> str | None:
    """Why the installed MLflow would refuse a database of some name; None where it takes it, as an empty one."""
    tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "alembic_version" not in tables:
        half = "a database of MLflow's that was not made whole; remove it, or give another one"
        return half if "experiments" in tables else None
    at = {row[0] for row in database.execute("SELECT version_num FROM alembic_version")}
    known, latest = _revisions()
    if "experiments" not in tables:
        return "the database of another program; give one of its own to MLflow"
    if not latest or at == latest:
        return None
    if at <= known:
        upgrade = f"mlflow db upgrade {shlex.quote(database_address(name))}"
        return f"a database of an older MLflow: take a copy, then  {upgrade}"
    return f"a database of a newer MLflow than {version('mlflow')}, which is installed here: give another one"


@cache
def _revisions() -> tuple[frozenset[str], frozenset[str]]:
    """Every version that the installed MLflow's tables have had, and the latest one; none where they are not told."""
    package = find_spec("mlflow")
    folders = package.submodule_search_locations if package else None
    scripts = Path(folders[0], "store", "db_migrations", "versions").glob("*.py") if folders else ()
    lines = [line for script in scripts for line in _REVISION.findall(script.read_text(encoding="utf-8"))]
    known = frozenset(name for what, name in lines if what == "revision")
    return known, known - {name for what, name in lines if what == "down_revision"}
