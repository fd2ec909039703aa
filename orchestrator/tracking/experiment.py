"""The MLflow experiment of a study, and the view of it that shows first what a user came for."""

import hashlib
import json
from collections.abc import Iterator
from itertools import count

from mlflow import MlflowClient

from orchestrator.tracking.database import artifact_folder
from orchestrator.tracking.entries import key_of
from orchestrator.tracking.study_info import StudyInfo
from trainable.evaluate.metrics.names import CONTEXT_GAP, MIOU, RARE_MIOU

MOST_PICKS = 8
"""Searched settings among the columns of the view; a table wider than a screen shows nothing."""


def open_experiment(client: MlflowClient, study: StudyInfo) -> str:
    """Id of the study's experiment, made where there is none.

    One of that name that was deleted in MLflow stays deleted: runs go to the name with a number.
    """
    name, experiment_id = next(_usable(client, study.experiment))
    if experiment_id is None:
        experiment_id = str(client.create_experiment(name, artifact_folder(str(client.tracking_uri), name)))
    objective = study.objective  # the charts of the experiment start with it
    client.set_experiment_tag(experiment_id, "mlflow.experiment.primaryMetric.name", objective.metric)
    greater = str(objective.mode == "max")
    client.set_experiment_tag(experiment_id, "mlflow.experiment.primaryMetric.greaterIsBetter", greater)
    # else its pages begin with those for language models
    client.set_experiment_tag(experiment_id, "mlflow.experimentKind", "custom_model_development")
    client.set_experiment_tag(experiment_id, f"mlflow.sharedViewState.{view_key(study)}", json.dumps(view(study)))
    return experiment_id


def view(study: StudyInfo) -> dict[str, object]:
    """State of MLflow's table of runs: trials by objective, the best first, with metrics and picks as columns."""
    objective = f"metrics.`{key_of(study.objective.metric)}`"
    metrics = dict.fromkeys([study.objective.metric, MIOU, RARE_MIOU, CONTEXT_GAP])
    columns = [
        *(f"metrics.`{key_of(metric)}`" for metric in metrics),
        *(f"params.`{key_of(path)}`" for path in study.searched[:MOST_PICKS]),
        "tags.`arm`",
        "tags.`state`",
        "tags.`kind`",
        "tags.`reason`",
    ]
    return {
        "searchFilter": f"tags.study_id = '{study.study_id}' and tags.kind != 'study'",
        "orderByKey": objective,
        "orderByAsc": study.objective.mode == "min",
        "selectedColumns": columns,
        "columnOrder": columns,  # MLflow's own is alphabetical
    }


def view_key(study: StudyInfo) -> str:
    """Name of the view in an address."""
    return hashlib.sha256(study.study_id.encode()).hexdigest()[:12]


def _usable(client: MlflowClient, name: str) -> Iterator[tuple[str, str | None]]:
    """Names that runs may go to, each with the id of its experiment if there is one."""
    for number in count(1):
        numbered = name if number == 1 else f"{name}-{number}"
        experiment = client.get_experiment_by_name(numbered)
        if experiment is None or experiment.lifecycle_stage != "deleted":
            yield numbered, str(experiment.experiment_id) if experiment else None
