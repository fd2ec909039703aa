"""The search space of a launched study, from its frozen specification, where environment variables stand by name."""

import json
from collections.abc import Mapping

from pydantic import JsonValue

from orchestrator.studyfile.space.notation import is_domain, tree_of
from orchestrator.studyfile.space.space import SearchSpace
from trainable.config import TrialConfig
from trainable.configfile.node import Node, Place


def stored_space(specification: Mapping[str, JsonValue]) -> SearchSpace:
    """The space that a frozen specification spans; ``${NAME}`` stands for itself.

    Ranges with a bound that names an environment variable are no domains here: their bounds are not kept.

    Raises:
        ValueError: a domain is malformed, which no launch writes.
    """
    sections = [key for key in TrialConfig.model_fields if key in specification]
    return SearchSpace({key: tree_of(_node(specification[key])) for key in sections})


def _node(value: JsonValue) -> Node:
    place = Place("the specification")
    match value:
        case dict() if is_domain(value) and "choice" not in value and "${" in json.dumps(value):
            return Node(json.dumps(value), place)
        case dict():
            return Node({key: _node(child) for key, child in value.items()}, place)
        case list():
            return Node([_node(child) for child in value], place)
        case str():
            return Node(value.replace("$${", "${"), place, raw=value)
        case _:
            return Node(value, place)
