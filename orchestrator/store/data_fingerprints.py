"""Fingerprints of a study's data sets, by their sections without the place, which differs between machines."""

import json
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from trainable.configfile.node import JsonObject
from trainable.data.config import Augment, DataConfig, read_data


def data_fingerprint(config: JsonObject, known: Mapping[str, str] = MappingProxyType({})) -> str:
    """Fingerprint of a trial's data.

    Args:
        config: The trial's configuration.
        known: Fingerprints that a launch has found, by ``section_key``; else the files are read, once.

    Raises:
        DataError: its files are gone.
    """
    section = frames_section(config["data"])
    return known.get(section_key(section)) or fingerprint_of(section)


def section_key(data: DataConfig) -> str:
    """What tells data sets of a study apart: the section, without root (of one machine) and augmentation (training)."""
    return json.dumps(data.model_dump(mode="json", exclude={"root", "augment"}), sort_keys=True)


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
    """The data section of a trial's tree without its augmentation, which does not change the frames."""
    return read_data(tree).model_copy(update={"augment": Augment()})
