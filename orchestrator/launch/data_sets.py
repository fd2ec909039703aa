"""The data sets of a study, on the driver: cached before the first trial, described and fingerprinted for MLflow."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from orchestrator.errors import InputError
from orchestrator.launch.foreseen import foreseen
from orchestrator.store.data_fingerprints import fingerprint_of, section_key
from orchestrator.store.kept_study import KeptStudy
from orchestrator.store.masking import shown_text
from orchestrator.studyfile import Study
from orchestrator.terminal.console import announced, open_console, say
from trainable.data.classes import class_names
from trainable.data.config import DataConfig, FileData, OwnData, ShapesData
from trainable.data.layout import SPLITS, DataError, pairs
from trainable.evaluate.metrics.rare import rare_classes


def cache_data(study: Study) -> None:
    """Decode every data set of the study into this node's cache, before many trials would wait for it; tell its notes.

    Raises:
        InputError: A broken file, a cache that cannot be written.
    """
    from trainable.data.notes import data_notes  # late: numpy and pyarrow take half a second to import

    console, notes = open_console(), dict[str, None]()
    for data in foreseen(study).data:
        if isinstance(data, ShapesData | OwnData):  # held in memory
            continue
        with _refusals(study, data), announced(console, f"Reading the {_frames(data)} frames of {data.name}"):
            notes |= dict.fromkeys(f"note: {data.name}: {line}" for line in data_notes(data))
    for note in notes:
        say(console, note)


def _frames(data: FileData) -> int:
    return sum(len(pairs(data, split)) for split in SPLITS)


@contextmanager
def _refusals(study: Study, data: DataConfig) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        text = shown_text(str(error), {"data": data.model_dump(mode="json")}, study.from_env)
        raise InputError(study.places.of_trial(text)) from error


def rare_class_names(study: Study, known: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Names of the rare classes of every data set, by ``section_key``: reports mark them long after the data are gone.

    Those that an earlier launch found are known; fingerprints see to it that the data are the same.

    Raises:
        InputError: A broken file, a cache that cannot be used.
    """
    from trainable.data.statistics import train_statistics  # late: numpy and pyarrow take half a second to import

    rare = dict(known)
    for data in foreseen(study).data:
        if section_key(data) not in rare:
            with _refusals(study, data):
                names = class_names(data)
                rare[section_key(data)] = [names[index] for index in rare_classes(train_statistics(data).pixels)]
    return rare


def check_data_unchanged(study: Study, before: Mapping[str, str]) -> dict[str, str]:
    """Fingerprints of the study's data sets, equal to those of earlier launches.

    Raises:
        InputError: files have changed since: trials on them cannot be compared with earlier ones; files are gone.
    """
    now = {}
    for data in foreseen(study).data:
        with _refusals(study, data):
            now[section_key(data)] = fingerprint_of(data)
    for section, fingerprint in now.items():
        if before.get(section, fingerprint) != fingerprint:
            raise InputError(
                f"{study.path}: data.root: the files of {json.loads(section)['name']} differ from those that the study "
                f"began with (fingerprint {fingerprint[:12]}, then {before[section][:12]}); restore them, or give this "
                "study another name (--set study=NAME)"
            )
    return now


@dataclass(frozen=True)
class Looked:
    """What the data of a study are, by ``section_key``."""

    fingerprints: dict[str, str]
    rare: dict[str, list[str]]
    """Names of rare classes."""


def look_through(study: Study, kept: KeptStudy | None) -> Future[Looked]:
    """Look through the data in a thread of its own, while the main thread waits for Ray.

    Args:
        study: The study.
        kept: What the launches before kept of it.

    Returns:
        What will be known; asked for it, it raises what `check_data_unchanged` and `rare_class_names` do.
    """
    fingerprints, rare = (kept.data, kept.rare_classes) if kept else ({}, {})
    future: Future[Looked] = Future()

    def look() -> None:
        try:
            future.set_result(Looked(check_data_unchanged(study, fingerprints), rare_class_names(study, rare)))
        except BaseException as error:
            future.set_exception(error)

    Thread(target=look, name="data", daemon=True).start()
    return future


def draw_data(study: Study, folder: Path) -> None:
    """Draw pictures of every data set of the study at one size, in a folder each.

    Raises:
        DataError, OSError: its files are gone; the folder cannot be written.
    """
    from trainable.data.pictures import draw  # late: matplotlib takes a second to import

    one_size = {(data.name, getattr(data, "root", None)): data for data in reversed(foreseen(study).data)}
    for number, data in enumerate(reversed(one_size.values())):
        draw(data, folder / (data.name if number == 0 else f"{data.name}-{number}"))
