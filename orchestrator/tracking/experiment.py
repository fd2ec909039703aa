"""The MLflow experiment of a study, and the views of it that show first what a user came for."""

from collections.abc import Iterator
from itertools import count

from mlflow import MlflowClient

from orchestrator.tracking.database import artifact_folder
from orchestrator.tracking.links import run_page
from orchestrator.tracking.notes import NOTE, replaces
from orchestrator.tracking.study_info import StudyInfo
from orchestrator.tracking.study_note import experiment_note
from orchestrator.tracking.views import view_tags, views, views_of

MOST_STUDIES = 100
"""Of an experiment's description, the latest ones."""


def open_experiment(client: MlflowClient, study: StudyInfo) -> str:
    """Id of the study's experiment, made where there is none.

    One of that name that was deleted in MLflow stays deleted: runs go to the name with a number.
    """
    name, experiment_id = next(_usable(client, study.experiment))
    if experiment_id is None:
        experiment_id = str(client.create_experiment(name, artifact_folder(str(client.tracking_uri), name)))
    objective = study.objective
    client.set_experiment_tag(experiment_id, "mlflow.experiment.primaryMetric.name", objective.metric)
    greater = str(objective.mode == "max")
    client.set_experiment_tag(experiment_id, "mlflow.experiment.primaryMetric.greaterIsBetter", greater)
    # else its pages begin with those for language models
    client.set_experiment_tag(experiment_id, "mlflow.experimentKind", "custom_model_development")
    set_views(client, experiment_id, study)
    return experiment_id


def set_views(client: MlflowClient, experiment_id: str, study: StudyInfo) -> None:
    """Bring the study's views up to date: how many runs a stage has is known once it is planned."""
    present = client.get_experiment(experiment_id).tags
    for name, value in view_tags(study).items():
        if present.get(name) != value:
            client.set_experiment_tag(experiment_id, name, value)


def view_links(study: StudyInfo, experiment_id: str) -> dict[str, str]:
    """Addresses of the study's views, relative to MLflow's pages, by what a link says."""
    return {view.title: view.address(experiment_id) for view in views(study)}


def describe_experiment(client: MlflowClient, experiment_id: str) -> None:
    """List the experiment's studies in its description, unless somebody edited it."""
    tags = client.get_experiment(experiment_id).tags
    order = ["attributes.start_time DESC"]
    parents = client.search_runs([experiment_id], "tags.kind = 'study'", max_results=MOST_STUDIES, order_by=order)
    studies = []
    for run in parents:
        of = run.data.tags
        links = {view.title: view.address(experiment_id) for view in views_of(of.get("study_id", ""), tags)}
        links = {"results": run_page(experiment_id, str(run.info.run_id)), **links}
        studies.append((of.get("study", ""), " · ".join(f"[{t}]({a})" for t, a in links.items()), of.get(NOTE, "")))
    note = experiment_note(studies)
    if replaces(tags.get(NOTE), note):
        client.set_experiment_tag(experiment_id, NOTE, note)


def _usable(client: MlflowClient, name: str) -> Iterator[tuple[str, str | None]]:
    """Names that runs may go to, each with the id of its experiment if there is one."""
    for number in count(1):
        numbered = name if number == 1 else f"{name}-{number}"
        experiment = client.get_experiment_by_name(numbered)
        if experiment is None or experiment.lifecycle_stage != "deleted":
            yield numbered, str(experiment.experiment_id) if experiment else None
