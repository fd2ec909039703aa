"""Files of weights that came from an MLflow run: in this machine's cache, by their content. Imports no torch.

The folder ``weights`` of the cache of decoded frames; it may be deleted as that may.
"""

import hashlib
import os
import uuid
from contextlib import suppress
from pathlib import Path

from trainable.data.cache import cache_folder
from trainable.model.config import WeightsFile, sha256_of
from trainable.model.run_reference import RUNS

FOLDER = "weights"


def place_of(file: WeightsFile) -> Path:
    """Where the file lies on this machine, or would."""
    if not file.path.startswith(RUNS):
        return Path(file.path)
    return cache_folder() / FOLDER / f"{file.sha256}{Path(file.path).suffix}"


def is_here(file: WeightsFile) -> bool:
    """Whether the file lies on this machine with the content that it should have."""
    with suppress(OSError):
        return sha256_of(place_of(file)) == file.sha256
    return False


def put_in_cache(path: str, content: bytes) -> WeightsFile:
    """Keep what the run's file ``path`` holds; returns the file. Others may do the same at the same time.

    Raises:
        OSError: the cache cannot be written.
    """
    file = WeightsFile(path=path, sha256=hashlib.sha256(content).hexdigest())
    if not is_here(file):
        place = place_of(file)
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
        try:
            partial.write_bytes(content)
            os.replace(partial, place)
        finally:
            partial.unlink(missing_ok=True)
    return file
