"""Records -> MLflow: one parent run per study, one child run per trial. The only room of mlflow, imported late."""

from orchestrator.tracking.destination import tracking_uri, where_runs_are
from orchestrator.tracking.study_info import StudyInfo
from orchestrator.tracking.tracker import Tracker
from orchestrator.tracking.tracker_apart import LoadingProcess, TrackerApart

__all__ = ["LoadingProcess", "StudyInfo", "Tracker", "TrackerApart", "tracking_uri", "where_runs_are"]
