"""The data sets of a study, on the driver: cached before the first trial, described and fingerprinted for MLflow."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from orchestrator.errors import InputError
from orchestrator.plan.ablation import expected
from orchestrator.plan.confirmation import test_section
from orchestrator.store.data_fingerprints import fingerprint_of, frames_section, section_key
from orchestrator.studyfile import SearchSpace, Study
from orchestrator.studyfile.space.domain import Choice, Float, Int, Tree
from orchestrator.terminal.console import open_console, say
from trainable.data.classes import class_names
from trainable.data.config import Augment, CamVidData, CityscapesData, DataConfig, FolderData, ShapesData, VocData
from trainable.data.layout import DataError
from trainable.evaluate.metrics.rare import rare_classes


def cache_data(study: Study) -> None:
    """Decode every data set of the study into this node's cache, before many trials would wait for it; tell its notes.

    Raises:
        InputError: A broken file, a cache that cannot be written.
    """
    from trainable.data.notes import data_notes  # late: numpy and pyarrow take half a second to import

    notes: dict[str, None] = {}
    for data in data_sections(study):
        match data:
            case ShapesData():
                continue  # made in memory
            case CamVidData() | CityscapesData() | VocData() | FolderData():
                try:
                    notes |= dict.fromkeys(f"note: {data.name}: {line}" for line in data_notes(data))
                except DataError as error:
                    raise InputError(f"{study.path}: {error}") from error
            case _:
                assert_never(data)
    for note in notes:
        say(open_console(), note)


def data_sections(study: Study) -> list[DataConfig]:
    """The data sections that trials may have, without their augmentation; of real domains only the middle."""
    space = SearchSpace({"data": _frames_only(study.space.tree["data"])})
    trees = (space.resolve(lambda name, _, cell=cell: cell[name]) for cell in space.cells())  # type: ignore[misc]
    found = [frames_section(tree["data"]) for tree in trees]
    arms = expected(study)
    found += [trial.data.model_copy(update={"augment": Augment()}) for trial in arms]
    written = study.space.tree.get("evaluation")
    tested_at_end = isinstance(written, dict) and written.get("test_at_end") is True
    if study.spec.confirm is not None or tested_at_end or any(trial.evaluation.test_at_end for trial in arms):
        found += [tested for data in found if (tested := test_section(data)) is not None]
    return list(dict.fromkeys(found))


def data_fingerprints(study: Study) -> dict[str, str]:
    """Fingerprint of every data set of the study, by its section without its root, which differs between machines."""
    return {section_key(data): fingerprint_of(data) for data in data_sections(study)}


def rare_class_names(study: Study, known: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Names of the rare classes of every data set of the study, by ``section_key``.

    Reports mark them long after the data are gone.

    Args:
        study: The study.
        known: Those that an earlier launch has found; fingerprints see to it that the data are the same.

    Raises:
        DataError: its files are gone.
    """
    from trainable.data.statistics import train_statistics  # late: numpy and pyarrow take half a second to import

    found = dict(known)
    for data in data_sections(study):
        if section_key(data) in found:
            continue
        names = class_names(data)
        found[section_key(data)] = [names[index] for index in rare_classes(train_statistics(data).pixels)]
    return found


def check_data_unchanged(study: Study, before: Mapping[str, str]) -> dict[str, str]:
    """Fingerprints of the study's data sets, equal to those of earlier launches.

    Raises:
        InputError: files have changed since: trials on them cannot be compared with earlier ones.
    """
    now = data_fingerprints(study)
    for section, found in now.items():
        if before.get(section, found) != found:
            raise InputError(
                f"{study.path}: data.root: the files of {json.loads(section)['name']} differ from those that the study "
                f"began with (fingerprint {found[:12]}, then {before[section][:12]}); restore them, or give this study "
                "another name (--set study=NAME)"
            )
    return now


def draw_data(study: Study, folder: Path) -> None:
    """Draw pictures of every data set of the study at one size, in a folder each.

    Raises:
        DataError, OSError: its files are gone; the folder cannot be written.
    """
    from trainable.data.pictures import draw  # late: matplotlib takes a second to import

    one_size = {(data.name, getattr(data, "root", None)): data for data in reversed(data_sections(study))}
    for number, data in enumerate(reversed(one_size.values())):
        draw(data, folder / (data.name if number == 0 else f"{data.name}-{number}"))


def _frames_only(tree: Tree) -> Tree:
    """The tree without what does not decide the frames of files: augmentation, and (of shapes alone) real numbers."""
    match tree:
        case Choice():
            return replace(tree, options=tuple(_frames_only(option) for option in tree.options))
        case Float():
            return tree.center()
        case Int():
            return tree
        case dict():
            return {key: _frames_only(child) for key, child in tree.items() if key != "augment"}
        case list():
            return [_frames_only(child) for child in tree]
        case _:
            return tree
