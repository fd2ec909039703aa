"""Fingerprints of a study's data sets, by their sections without the place, which differs between machines."""

import json
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from trainable.configfile.node import JsonObject
from trainable.data.config import TRAINING_ONLY, DataConfig, frames_of, read_data


def data_fingerprint(config: JsonObject, known: Mapping[str, str] = MappingProxyType({})) -> str:
    """Fingerprint of a trial's data: known by ``section_key`` from a launch, or else read from its files, once.

    Raises:
        DataError: its files are gone.
    """
    section = frames_section(config["data"])
    return known.get(section_key(section)) or fingerprint_of(section)


def section_key(data: DataConfig) -> str:
    """What tells data sets of a study apart: the section, without root (of one machine) and training's part."""
    return json.dumps(data.model_dump(mode="json", exclude={"root", *TRAINING_ONLY}), sort_keys=True)


@lru_cache
def fingerprint_of(data: DataConfig) -> str:
    """Fingerprint of the files of a data section; read once.

    Raises:
        DataError: they are gone.
    """
    from trainable.data.cache import cache_folder
    from trainable.data.fingerprint import fingerprint

    return fingerprint(data, cache_folder())


def frames_section(tree: object) -> DataConfig:
    """The data section of a trial's tree without what training does with the frames."""
    return frames_of(read_data(tree))
