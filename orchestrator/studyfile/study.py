"""A study, read and checked."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.studyfile.sections.search import Reference
from orchestrator.studyfile.sections.study import StudySpec
from orchestrator.studyfile.space.space import SearchSpace
from trainable.config import TrialConfig


@dataclass(frozen=True, eq=False)
class Study:
    """A study file whose every trial is valid."""

    path: Path
    spec: StudySpec
    space: SearchSpace
    text: str
    """The file as written."""
    overrides: tuple[str, ...]
    """The ``--set`` options."""
    from_env: Mapping[str, str]
    """Dotted paths of trial settings that name environment variables, with the text as written."""
    tree: Mapping[str, Any]
    """The study as a plain tree: domains as written, defaults filled in, environment variables by name."""

    def resolved(self) -> dict[str, Any]:
        """A copy of the tree. Written as YAML it is the study file of the same study."""
        return copy.deepcopy(dict(self.tree))


def reference(study: Study, name: Reference, seed: int) -> TrialConfig:
    """A reference trial: the plain model or the official DropClass setting, other domains at their center."""
    tree = study.space.resolve(study.space.center())
    tree.pop("preset", None)
    tree["suppression"] = None if name == "plain" else {}
    return SearchSpace(tree).trial(study.space.center(), seed)
