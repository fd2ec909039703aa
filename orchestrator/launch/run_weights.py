"""Weights of an MLflow run on this machine, before the study that starts from them is checked."""

from safetensors import SafetensorError, deserialize

from orchestrator.errors import InputError, one_line
from orchestrator.store import layout
from orchestrator.store.addresses import storage_errors
from orchestrator.store.records import Store
from orchestrator.tracking.run_files import download
from trainable.data.errors import DataError
from trainable.model.fetched import put_in_cache
from trainable.model.run_reference import RunReference


def content_of(storage: str, reference: RunReference, study: str, tracking_uri: str | None) -> str:
    """Bring the file into this machine's cache, from the study's directory or else from MLflow; returns its hash.

    What the study keeps comes first: it goes on when the run is gone. Nothing is written to its directory.

    Raises:
        ValueError: there is no such run or file, MLflow does not answer, or the content is another than expected.
        InputError: the storage or the cache cannot be used.
    """
    with storage_errors(f"--storage {storage}: cannot be used"):
        store, name = Store(storage, study), layout.weights(reference.run, reference.file)
        content, place = store.objects.read(name), store.path(name)
    if content is None:
        content, place = _downloaded(reference, tracking_uri), reference.path
    _check_whole(content, place)
    try:
        sha256 = put_in_cache(reference.path, content).sha256
    except (DataError, OSError) as error:
        raise InputError(f"this machine's cache: {one_line(error)}") from error
    if reference.sha256 not in (None, sha256):
        raise ValueError(f"{place} has the hash {sha256}, not {reference.sha256}")
    return sha256


def _downloaded(reference: RunReference, tracking_uri: str | None) -> bytes:
    try:
        return download(reference, tracking_uri)
    except InputError as error:
        raise ValueError(str(error)) from error


def _check_whole(content: bytes, place: str) -> None:
    """Refuse a damaged file; what torch reads, the check of the models tells."""
    if place.endswith(".safetensors"):
        try:
            deserialize(content)  # type: ignore[no-untyped-call]
        except SafetensorError as error:
            raise ValueError(f"{place}: damaged, or no file of safetensors") from error
