"""The section that names a class of one's own, ``module:Class``, with its settings. Imports no torch.

Like a file of weights it is known by its content: a study file writes the name, and the section adds the hash of the
code that the name stands for.
"""

import re
from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, Field, JsonValue, Tag, model_validator

from trainable.parts.source import code_of
from trainable.section import BUILT_IN, OWN, Section

NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
"""``module:Class``."""


class OwnPart(Section):
    """A class of your own (docs/own-parts.md); further keys are the arguments of its constructor."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    name: Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
    """``module:Class``, of an installed package, or of a module beside the study file or in the current folder."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] = ""
    """Hash of its code, which the trial is known by; left out it is that of the code as it is now."""

    @model_validator(mode="before")
    @classmethod
    def _with_code(cls, tree: object) -> object:
        if not isinstance(tree, dict):
            return tree
        known = cls.model_fields
        tree = {key: as_tuples(value) if key in known else as_json(value) for key, value in tree.items()}
        name = tree.get("name")
        if isinstance(name, str) and not NAME.fullmatch(name):
            raise ValueError(f"a part of your own is module:Class, as my_parts:Gate; got '{name}'")
        if "sha256" in tree or not isinstance(name, str):
            return tree
        return {**tree, "sha256": code_of(name).sha256}

    @property
    def settings(self) -> dict[str, JsonValue]:
        """Arguments of the constructor, as written."""
        return dict(self.__pydantic_extra__ or {})

    @property
    def short_name(self) -> str:
        """The name of the class alone."""
        return short_name(self.name)


def is_own(name: object) -> bool:
    """Whether a name is ``module:Class``, or is meant to be."""
    return isinstance(name, str) and ":" in name


def short_name(name: str) -> str:
    """``Class`` of ``module:Class``; another name as it is."""
    return name.rpartition(":")[2] if NAME.fullmatch(name) else name


def kind_of(value: object) -> str:
    """The tag of the union's member that a value, written or validated, belongs to."""
    if isinstance(value, OwnPart):
        return OWN
    name = value.get("name") if isinstance(value, dict) else value
    return OWN if is_own(name) else BUILT_IN


OwnMember = Annotated[OwnPart, Tag(OWN)]
"""An own part beside the built-in ones."""
BUILT_IN_OR_OWN = Discriminator(kind_of)
"""Tells the built-in parts (``Tag(BUILT_IN)``) from `OwnMember`."""


def as_tuples(value: Any) -> Any:
    """JSON's lists as tuples: behind a validator of its own, pydantic no longer knows that the input was JSON."""
    if isinstance(value, dict):
        return {key: as_tuples(child) for key, child in value.items()}
    return tuple(map(as_tuples, value)) if isinstance(value, list | tuple) else value


def as_json(value: Any) -> JsonValue:
    """Such tuples as the lists that they were."""
    if isinstance(value, dict):
        return {key: as_json(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(child) for child in value]
    plain: JsonValue = value
    return plain
