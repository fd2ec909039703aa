"""The ``ablation`` section of a study file as its checks see it: what it says, and where each part of it stands."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from orchestrator.studyfile.sections.comparison import AblationSection, Baseline, Values
from orchestrator.studyfile.space.space import SearchSpace
from orchestrator.studyfile.space.trees import with_values
from trainable.config import TrialConfig
from trainable.configfile.messages import validate
from trainable.configfile.mistakes import Mistake, RuleError, show_path
from trainable.configfile.node import Key, Node, Place, child_of
from trainable.configfile.overrides import longest_key

NOWHERE = Place("")


@dataclass(frozen=True)
class AblationFile:
    """The section in its file."""

    section: AblationSection
    node: Node
    space: SearchSpace
    searched: bool

    @property
    def baseline(self) -> Baseline:
        """What the arms are compared with; raises ValueError as `AblationSection.read_baseline`."""
        return self.section.read_baseline(searched=self.searched)

    def mistake(self, message: str, *path: Key) -> Mistake:
        """A mistake at a path within the section, placed at the deepest part of it that is written.

        A key with dots may be written as one key or as nested ones.
        """
        node = self.node
        for key in path:
            node = _below(node, key)
        return Mistake(node.place, f"ablation.{show_path(path)}", message)


def _below(node: Node, key: Key) -> Node:
    if isinstance(key, int):
        return child_of(node, key) or node
    keys: Sequence[str] = key.split(".")
    while keys and isinstance(node.value, dict):
        name, keys = longest_key(node.value, keys)
        if name not in node.value:
            break
        node = node.value[name]
    return node


def trial_mistakes(tree: Mapping[str, JsonValue], values: Values) -> list[Mistake]:
    """What is wrong with a trial whose values at dotted paths are replaced; the mistakes have no place."""
    mistakes: list[Mistake] = []
    try:
        validate(TrialConfig, _node(with_values(tree, values)), (), mistakes)
    except RuleError as error:
        return error.mistakes(_node({}))
    return mistakes


def level_text(level: object) -> str:
    """A level in a message; an option of a search may hold domains."""
    return f"'{level}'" if isinstance(level, str) else json.dumps(level, default=str)


def _node(value: JsonValue) -> Node:
    if isinstance(value, dict):
        return Node({key: _node(child) for key, child in value.items()}, NOWHERE)
    if isinstance(value, list):
        return Node([_node(child) for child in value], NOWHERE)
    return Node(value, NOWHERE)
