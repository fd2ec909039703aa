"""The best trial's network as a model in MLflow, with its signature, and in the registry where asked.

The model is ``trainable.model.export.folded``: a plain segmentation-models-pytorch network in evaluation mode.
``mlflow.pytorch.load_model`` brings it back wherever the packages of its ``requirements.txt`` are installed; this
project is not among them. torch and smp, which take seconds and memory, are imported by a process of its own
(``model_process``), where there is a network to log.

Works on a client alone and changes no tracking URI, active run or other state of the process: it runs in a thread.
"""

import json
from contextlib import closing, nullcontext
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record
from orchestrator.tracking.model_writer import NAME, ModelWriter, Wanted
from trainable.model.run_reference import NETWORK


def log_best_model(
    client: MlflowClient,
    run_id: str,
    store: Store,
    record: Record,
    *,
    register: str | None,
    writer: ModelWriter | None = None,
) -> str | None:
    """Log the network of a complete trial as a model of its run, once, and register it under a name, once.

    Its weights alone are a file of the run too: ``runs:/<run>`` in a study file. ``writer`` is the caller's, to
    start early and to close; None makes one.

    Returns:
        The model's address, ``models:/<id>``; None where no good checkpoint of the last epoch is kept.

    Raises:
        MlflowException: MLflow cannot be reached or refuses.
        OSError: the storage cannot be used.
        NoModelError: the network can no longer be built or written.
    """
    logged, has_weights = _logged(client, run_id), _has_weights(client, run_id)
    if not (logged and has_weights) and store.checkpoints(record.key):
        own = closing(ModelWriter()) if writer is None else nullcontext(writer)
        with TemporaryDirectory() as folder, own as files:
            trained = files.read(Wanted(store.storage, store.study, record, folder))
            if trained and not has_weights:
                client.log_artifact(run_id, f"{folder}/{NETWORK}")
            if trained and logged is None:
                logged = _log(client, run_id, record, files, f"{folder}/{NAME}")
    if logged is None:
        return None
    if register is not None:
        _register(client, register, logged, run_id)
    return f"models:/{logged.model_id}"


def _logged(client: MlflowClient, run_id: str) -> LoggedModel | None:
    """The model of an earlier launch, if it was written to its end."""
    outputs = client.get_run(run_id).outputs
    models = (client.get_logged_model(output.model_id) for output in (outputs.model_outputs if outputs else ()))
    return next((m for m in models if m.name == NAME and m.status == LoggedModelStatus.READY), None)


def _has_weights(client: MlflowClient, run_id: str) -> bool:
    """Models of earlier versions have none."""
    return any(file.path == NETWORK for file in client.list_artifacts(run_id))


def _log(client: MlflowClient, run_id: str, record: Record, files: ModelWriter, folder: str) -> LoggedModel:
    run = client.get_run(run_id)
    logged = client.create_logged_model(
        run.info.experiment_id, NAME, run_id, tags={"trial": record.key}, params=run.data.params
    )
    try:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=len(record.epochs))])
        files.save(logged)
        client.log_model_artifacts(logged.model_id, folder)
        client.log_batch(run_id, metrics=_scores(client, run_id, logged.model_id, record))
    except BaseException:
        client.finalize_logged_model(logged.model_id, LoggedModelStatus.FAILED)
        raise
    return client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)


def _scores(client: MlflowClient, run_id: str, model_id: str, record: Record) -> list[Metric]:
    """The run's evaluation of the last epoch, as the model's too: the same points, or the run would have them twice."""
    last = len(record.epochs)
    names = [name for name in record.epochs[-1] if name.startswith("val/")]
    points = (point for name in names for point in client.get_metric_history(run_id, name) if point.step == last)
    return [Metric(p.key, p.value, p.timestamp, p.step, model_id=model_id, run_id=run_id) for p in points]


def _register(client: MlflowClient, name: str, logged: LoggedModel, run_id: str) -> None:
    """Make the model a version of a registered model, unless it is one."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = client.search_model_versions(f"name = '{name}'")
    if not any(version.source == logged.artifact_location for version in versions):
        # Its place and not models:/<id>, which a database would look up at the process's tracking URI.
        made = client.create_model_version(
            name, logged.artifact_location, run_id, model_id=logged.model_id, await_creation_for=0
        )
        link = json.dumps([{"name": name, "version": made.version}])
        client.set_logged_model_tags(logged.model_id, {MLFLOW_MODEL_VERSIONS: link})  # the model's page shows it
