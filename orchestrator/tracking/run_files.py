"""A file that an MLflow run keeps, by reference. Imports mlflow late."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from orchestrator.errors import one_line
from orchestrator.store.addresses import redacted
from orchestrator.tracking.address_check import trouble_at
from orchestrator.tracking.destination import database_path, is_database_file, tracking_uri, uri_setting
from trainable.model.run_reference import RunReference

if TYPE_CHECKING:
    from mlflow import MlflowClient

RULE = "a study keeps the network of its best trial alone, with that trial's run"


def download(reference: RunReference, configured: str | None) -> bytes:
    """What the file holds; ``configured`` is the study's ``tracking.uri``.

    Raises:
        ValueError: MLflow does not answer, or has no such run or file; the message names what the run has.
        InputError: MLflow cannot be at the address.
    """
    uri, setting = tracking_uri(configured), uri_setting(configured)
    where = f"{setting} {redacted(uri)}"
    if (trouble := trouble_at(uri, setting)) is not None:
        raise ValueError(f"{where} does not answer: {redacted(trouble)}")
    if is_database_file(uri) and not Path(database_path(uri)).exists():
        raise ValueError(f"{where}: there is no such database")
    from mlflow.exceptions import MlflowException  # late: it takes 2 s to import

    from orchestrator.tracking.client import connect

    try:
        return _content(connect(uri), reference, where)
    except (MlflowException, OSError) as error:
        raise ValueError(f"{where}: {redacted(one_line(error))}") from error


def _content(client: "MlflowClient", reference: RunReference, where: str) -> bytes:
    from mlflow.exceptions import MlflowException

    try:
        tags = client.get_run(reference.run).data.tags
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise ValueError(f"{where} has no run {reference.run}") from error
        raise
    folder = reference.file.rpartition("/")[0]
    names = [file.path for file in client.list_artifacts(reference.run, folder or None)]
    if reference.file not in names:
        whose = f"run {reference.run}{f' ({trial})' if (trial := tags.get('trial')) else ''}"
        raise ValueError(f"{whose} has no {reference.file}; it has {', '.join(names) or 'no files'}; {RULE}")
    with TemporaryDirectory() as place:
        return Path(client.download_artifacts(reference.run, reference.file, place)).read_bytes()
