"""MLflow's client as this project uses it: quiet, and quick to give up."""

import logging
import os

from mlflow import MlflowClient

from orchestrator.tracking.database import ensure_database


def connect(uri: str) -> MlflowClient:
    """A client of a server or database; that of a file is made where there is none.

    A dead server must be noticed in seconds: whoever asks tries again by itself. (A retry below us would also open a
    run twice where the answer to the first request was lost.)

    Raises:
        MlflowException, OSError: the database cannot be made.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # a line per run, into our display
    if not uri.startswith("http"):
        from mlflow.store.db import utils as db_utils  # late: half a second that a server does not need

        db_utils.MAX_RETRY_COUNT = 1  # ten tries take 100 s
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    ensure_database(uri)
    return MlflowClient(uri)
