"""Records -> MLflow: one parent run per study, one child run per trial. The only room of mlflow, imported late."""

import os

from orchestrator.store.addresses import redacted
from orchestrator.tracking.study_info import StudyInfo
from orchestrator.tracking.tracker import Tracker

__all__ = ["DEFAULT_URI", "StudyInfo", "Tracker", "redacted", "tracking_uri", "ui_command"]

DEFAULT_URI = "sqlite:///mlflow.db"
"""MLflow's own default."""


def tracking_uri(configured: str | None) -> str:
    """Where runs go: the spec's ``tracking.uri``, else MLFLOW_TRACKING_URI, else MLflow's own default."""
    return configured or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def ui_command(uri: str) -> str | None:
    """The command that serves MLflow's pages; None where ``uri`` is a server already."""
    if uri.startswith("http"):
        return None
    return "mlflow ui" if uri == DEFAULT_URI else f"mlflow ui --backend-store-uri {redacted(uri)}"
