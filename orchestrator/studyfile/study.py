"""A study, read and checked."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from orchestrator.studyfile.places import Places
from orchestrator.studyfile.sections.study import StudySpec
from orchestrator.studyfile.space.space import SearchSpace
from trainable.config import TrialConfig, read_trial
from trainable.configfile.node import JsonObject
from trainable.presets import Preset, apply_preset


@dataclass(frozen=True, eq=False)
class Study:
    """A study file whose every trial is valid."""

    path: Path
    spec: StudySpec
    space: SearchSpace
    from_env: Mapping[str, str]
    """Dotted paths of trial settings that name environment variables, with the text as written."""
    tree: Mapping[str, JsonValue]
    """The study as a plain tree: domains as written, defaults filled in, environment variables by name."""
    places: Places
    """Where it writes what."""

    def resolved(self) -> JsonObject:
        """A copy of the tree. Written as YAML it is the study file of the same study."""
        return copy.deepcopy(dict(self.tree))


def reference(study: Study, name: Preset, seed: int) -> TrialConfig:
    """A reference trial: the preset of that name, other domains at their center."""
    tree = study.space.at_center()
    tree.pop("preset", None)
    return read_trial({**apply_preset(name, tree), "seed": seed})
