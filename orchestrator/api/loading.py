"""Where a study lies, from what a user writes: a name, a folder, an address; mistakes in one line."""

import os
import re
from difflib import get_close_matches
from pathlib import Path

from orchestrator.api.arguments import path_text
from orchestrator.api.reading import usable
from orchestrator.api.study import Study, read_study
from orchestrator.errors import InputError
from orchestrator.store import layout
from orchestrator.store.kept_study import KeptStudy
from orchestrator.store.records import Store

STORAGE = "studies"
"""Folder of the studies where nothing says another."""
SPEC_SUFFIXES = (".yaml", ".yml", ".json")


def load_study(study: str | Path, storage: str | Path | None = None) -> Study:
    """A study that was launched, as its directory tells it now. Nothing is written, and no trial runs.

    Args:
        study: Its directory (``studies/shapes``), the address of one (``s3://bucket/studies/shapes``), or its name
            alone, which is looked for in ``storage``.
        storage: Folder or address of the studies, as ``--storage`` of the commands; ``studies`` by default.

    Raises:
        InputError: There is no such study, it is damaged or of a newer version, or the storage cannot be used.
    """
    store, kept = find_study(study, storage)
    return read_study(store, kept)


def find_study(study: str | Path, storage: str | Path | None = None) -> tuple[Store, KeptStudy]:
    """The directory of a study and what it says the study is; arguments and errors as `load_study`."""
    written = path_text(study, "study")
    folder, name = _place(written, None if storage is None else path_text(storage, "storage"))
    with usable(written):
        store = Store(folder, name)
        kept = store.read_study()
        if kept is None:
            raise InputError(_missing(store, written))
    return store, kept


def _place(study: str, storage: str | None) -> tuple[str, str]:
    """Storage and name of a study."""
    if not study.strip("/ "):
        raise InputError("the study has no name; give its directory, such as studies/shapes, or its name")
    if storage is not None:
        return storage, study.rstrip("/")
    if "://" in study:
        address, question, options = study.partition("?")
        parent, _, name = address.rstrip("/").rpartition("/")
        if not name or parent.endswith((":", ":/")):
            raise InputError(f"{study}: the address of a study ends in its name: s3://BUCKET/FOLDER/STUDY")
        return f"{parent}{question}{options}", name
    path = Path(os.path.abspath(study))
    if path.name == layout.STUDY:
        path = path.parent
    if os.sep in study or (path / layout.STUDY).is_file():
        return str(path.parent), path.name
    return STORAGE, study


def _missing(store: Store, written: str) -> str:
    """Why there is no such study, and which one may be meant."""
    if written.endswith(SPEC_SUFFIXES):
        return f"{written}: is a study file and no study; orchestrator.run runs it, load_study takes its directory"
    if inside := Store(store.uri, "any").studies_beside():
        return f"{store.address}: a folder of studies; name one of them: {', '.join(inside)}"
    names = store.studies_beside()
    lower = {name.lower(): name for name in names}
    close = [lower[name] for name in get_close_matches(store.study.lower(), lower, n=1)]
    message = f"{store.address}: no study there"
    if close:
        return f"{message} (did you mean '{close[0]}'?)"
    listed = f"; {re.sub(r'/[^/]*$', '', store.address)} holds {', '.join(names)}" if names else ""
    return f"{message}{listed}"
