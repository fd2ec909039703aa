"""A new SQLite database for MLflow, made whole: there or not there, never in between.

MLflow creates its tables one by one. A process killed meanwhile would leave a database that MLflow refuses from then on
("table ... already exists"), and two processes that create one at once disturb each other.
"""

import os
import uuid
from pathlib import Path

from mlflow import MlflowClient

from orchestrator.tracking.destination import SQLITE


def ensure_database(uri: str) -> None:
    """Create the database of a plain ``sqlite:///PATH`` where there is none; nothing for other addresses.

    Raises:
        MlflowException, OSError: it cannot be created.
    """
    path = Path(uri.removeprefix(SQLITE))
    if not uri.startswith(SQLITE) or "?" in uri or path.name.startswith("file:") or path.exists():
        return
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        MlflowClient(f"{SQLITE}{fresh}").search_experiments(max_results=1)
        _move(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def _move(fresh: Path, path: Path) -> None:
    """Give the file its name unless another process was faster."""
    try:
        os.link(fresh, path)
    except FileExistsError:
        return
    except OSError:  # a filesystem without links
        if not path.exists():
            os.replace(fresh, path)
