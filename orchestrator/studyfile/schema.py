"""The JSON Schema of study files, for completion and hints in editors: ``dropclass schema [--out FILE]``.

It is made from the sections that also check the files: each value may be what its field takes, a domain that fits, or a
text with ``${NAME}``. What only `load` can see is not in it: bounds of domains, combinations, files on disk.
Draft 7, which the YAML language server reads.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel

from orchestrator.studyfile.loading import KEYS, NAMED
from orchestrator.studyfile.sections.budget import BudgetSection
from orchestrator.studyfile.sections.comparison import AblationSection, ConfirmSection
from orchestrator.studyfile.sections.resources import ResourcesSection, TrackingSection
from orchestrator.studyfile.sections.search import STUDY_NAME, SearchSection
from orchestrator.studyfile.sections.study import Objective
from orchestrator.studyfile.space.trees import TRIAL_KEYS
from trainable.config import TrialConfig
from trainable.model.encoders import ENCODERS, TIMM_PREFIX
from trainable.parts.section import NAME
from trainable.program import usage_name

Schema: TypeAlias = dict[str, Any]

OPTIONAL = ("preset", "suppression", "evaluation", "search", "confirm", "ablation", "resources", "budget", "tracking")
_ENV: Schema = {"$ref": "#/$defs/env"}
_NAME_ALONE = "name_alone"
_OWN = f"^{NAME.pattern}$"
_BY_CLASS = ("#/$defs/OwnPart", "#/$defs/OwnMetric")
"""Sections of parts of one's own that may be written as their name alone."""
_NOISE = ("title", "discriminator", _NAME_ALONE)
_RANGES = {"integer": ("int", "log_int"), "number": ("uniform", "log_uniform", "int", "log_int")}
"""The numeric domains that fit a type."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 written, 2 it cannot be written there."""
    options = parser().parse_args(argv)
    text = f"{json.dumps(study_schema(), indent=2)}\n"
    if options.out is None:
        sys.stdout.write(text)
        return 0
    try:
        Path(options.out).write_text(text)
    except OSError as error:
        print(f"--out {options.out}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    command = argparse.ArgumentParser(
        prog=usage_name("orchestrator.studyfile.schema"), description="Write the JSON Schema of study files."
    )
    command.add_argument("--out", metavar="FILE", help="file to write to (default: show it)")
    return command


def study_schema() -> Schema:
    """The schema of study files."""
    builder = _Builder()
    trial = _definition(TrialConfig)
    del trial["properties"]["seed"]
    encoder = trial["$defs"]["ModelConfig"]["properties"]["encoder"]
    encoder["anyOf"] = [{"enum": list(ENCODERS)}, {"type": "string", "pattern": f"^{TIMM_PREFIX}"}]
    properties = builder.section(trial, "trial", searched=True)["properties"]
    objective = builder.reference(Objective)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Study file",
        "type": "object",
        "properties": {
            "study": {"anyOf": [{"type": "string", "pattern": STUDY_NAME}, _ENV]},
            "objective": {"anyOf": [objective, {"type": "array", "items": objective, "minItems": 1}]},
            **{key: properties[key] for key in TRIAL_KEYS},
            "search": builder.reference(SearchSection),
            "confirm": builder.reference(ConfirmSection),
            "ablation": builder.reference(AblationSection),
            "resources": builder.reference(ResourcesSection),
            "budget": builder.reference(BudgetSection),
            "tracking": builder.reference(TrackingSection),
        },
        "required": [key for key in KEYS if key not in OPTIONAL],
        "anyOf": [{"required": ["search"]}, {"required": ["ablation"]}],
        "additionalProperties": False,
        "$defs": builder.definitions,
    }


class _Builder:
    """Collects the definitions that the schemas of values refer to."""

    def __init__(self) -> None:
        self.definitions: Schema = {"env": {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"}}
        self.definitions |= {key: _range(key) for key in _RANGES["number"]}

    def reference(self, model: type[BaseModel]) -> Schema:
        """A reference to a section that no trial has."""
        schema = _definition(model)
        for key in NAMED if model is SearchSection else ():
            _allow_name_alone(schema, key)
        self.definitions[model.__name__] = self.section(schema, model.__name__, searched=False)
        return {"$ref": f"#/$defs/{model.__name__}"}

    def section(self, schema: Schema, name: str, *, searched: bool) -> Schema:
        """A section whose values may be domains (where searched) or texts with variables; adds its definitions."""
        for key, definition in schema.pop("$defs", {}).items():
            self.definitions[key] = self.section(definition, key, searched=searched)
        if "properties" not in schema:  # any value at all
            return schema
        values = {key: self._value(child, f"{name}.{key}", searched) for key, child in schema["properties"].items()}
        return {**{key: part for key, part in schema.items() if key not in _NOISE}, "properties": values}

    def _value(self, schema: Schema, name: str, searched: bool) -> Schema:
        """A reference to the definition of a value: what its field takes, or what may stand for that."""
        kinds = [self._kind(kind, name, searched) for kind in _alternatives(schema)]
        kinds = [*_names_alone(schema, kinds), *kinds]
        notes = {key: schema[key] for key in ("description", "default") if key in schema}
        stand_ins = [*_domains(kinds, name), _ENV] if searched else [_ENV]
        self.definitions[name] = {**notes, "anyOf": [*kinds, *stand_ins]}
        return {"$ref": f"#/$defs/{name}"}

    def _kind(self, schema: Schema, name: str, searched: bool) -> Schema:
        kind = {key: value for key, value in schema.items() if key not in (*_NOISE, "description", "default")}
        if "prefixItems" in kind:
            items = kind.pop("prefixItems")
            kind["items"] = [self._value(item, f"{name}.{index}", searched) for index, item in enumerate(items)]
        elif "items" in kind:
            kind["items"] = self._value(kind["items"], f"{name}.item", searched)
        return kind


def _names_alone(schema: Schema, kinds: list[Schema]) -> list[Schema]:
    """What may stand for a section by its name: those of the built-in ones, and any ``module:Class``."""
    unions = [part for part in [schema, *schema.get("oneOf", [])] if _NAME_ALONE in part]
    own = [{"type": "string", "pattern": _OWN}] if any(kind.get("$ref") in _BY_CLASS for kind in kinds) else []
    return [*({"enum": list(union["discriminator"]["mapping"])} for union in unions), *own]


def _definition(model: type[BaseModel]) -> Schema:
    schema: Schema = model.model_json_schema()
    return schema


def _alternatives(schema: Schema) -> list[Schema]:
    nested = schema.get("anyOf") or schema.get("oneOf")
    return [kind for part in nested for kind in _alternatives(part)] if nested else [schema]


def _domains(kinds: list[Schema], name: str) -> list[Schema]:
    """The domains that may stand for a value; the options of a choice may be domains again."""
    types = [kind.get("type") for kind in kinds]
    ranges = dict.fromkeys(key for kind in types if kind in _RANGES for key in _RANGES[kind])
    choice = {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"$ref": f"#/$defs/{name}"}}
    return [*({"$ref": f"#/$defs/{key}"} for key in ranges), _closed({"choice": choice}, ["choice"])]


def _range(key: str) -> Schema:
    number = {"anyOf": [{"type": "integer" if key in _RANGES["integer"] else "number"}, _ENV]}
    bounds = {"type": "array", "items": number, "minItems": 2, "maxItems": 2, "description": "[low, high]"}
    step = {} if key.startswith("log_") else {"step": {**number, "description": "divides high - low"}}
    return _closed({key: bounds, **step}, [key])


def _closed(properties: Schema, required: list[str]) -> Schema:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _allow_name_alone(section: Schema, key: str) -> None:
    """Let the name of a sampler or pruner stand for the mapping with its defaults."""
    kinds = _alternatives(section["properties"][key])
    models = [section["$defs"][kind["$ref"].rpartition("/")[2]] for kind in kinds if "$ref" in kind]
    names = [model["properties"]["name"]["const"] for model in models]
    section["properties"][key]["anyOf"] = [{"enum": names}, *kinds]


if __name__ == "__main__":
    sys.exit(main())
