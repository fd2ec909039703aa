"""Pydantic's errors in the words of a configuration file: path as written, value, rule and valid names."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from trainable.configfile.mistakes import MISSING, Mistake, RuleError, show_path, unknown
from trainable.configfile.node import Key, Node, child_of, children_of, plain
from trainable.section import BUILT_IN, OWN

M = TypeVar("M", bound=BaseModel)

WHY_NOT = {("model.arch", "dpt"): "dpt's decoder needs the prefix tokens of a ViT encoder besides the feature maps"}
"""Reasons for values that one may well expect to work."""

_RULES = {
    "int_type": "expected a whole number, got {node}",
    "float_type": "expected a number, got {node}",
    "bool_type": "expected true or false, got {node}",
    "string_type": "expected text, got {node}",
    "tuple_type": "expected a list, got {node}",
    "greater_than": "must be > {gt:.12g}, got {node}",
    "greater_than_equal": "must be >= {ge:.12g}, got {node}",
    "less_than": "must be < {lt:.12g}, got {node}",
    "less_than_equal": "must be <= {le:.12g}, got {node}",
    "multiple_of": "must be a multiple of {multiple_of:.12g}, got {node}",
    "finite_number": "must be finite, got {node}",
    "too_long": "expected {max_length} values, got {actual_length}",
    "too_short": "expected at least {min_length} value, got {actual_length}",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "must match {pattern}, got {node}",
}
"""Messages about a value of the wrong type or outside its bounds, by pydantic's type of the error."""
_ALTERNATIVES: Mapping[Key, str] = {"one": "a list", "word": "a whole number", "alone": "a number"}
"""What may stand in place of a word, by the tag that pydantic names it with (``trainable.section``)."""
_COLLECTION = re.compile(r"\s*([\[{]|- |[\w.]+: )")
"""How a mapping or a list of YAML begins."""
_WHOLE = {"uniform": "int", "log_uniform": "log_int"}
"""The domain of whole numbers for each domain of real ones."""


def validate(model: type[M], node: Node, path: Sequence[Key], mistakes: list[Mistake]) -> M | None:
    """The section that a tree describes; None, with all its mistakes, where it describes none."""
    try:
        return model.model_validate_json(json.dumps(plain(node)))
    except ValidationError as error:
        mistakes.extend(_describe(error, model, node, path))
        return None


def _describe(error: ValidationError, model: type[BaseModel], node: Node, path: Sequence[Key]) -> Iterator[Mistake]:
    for detail in error.errors(include_url=False):
        value, keys = _locate(detail, node)
        if value is not None:
            full = show_path([*path, *keys])
            yield Mistake(value.place, full, _message(detail, value, full, model) + _single(value))


def _single(node: Node) -> str:
    """That a variable is no place for YAML, where it holds some."""
    holds = node.raw is not None and isinstance(node.value, str) and _COLLECTION.match(node.value)
    return "; a variable holds a single value, no mapping and no list" if holds else ""


def _locate(detail: ErrorDetails, node: Node) -> tuple[Node | None, list[Key]]:
    """The value an error is about, and its path; no value where the error follows from one that is told."""
    loc, rule = detail["loc"], _rule(detail)
    if rule is not None and rule.path:  # rules over several values name the one to change
        loc = rule.path
    keys: list[Key] = []
    for key in loc:
        if node.broken:
            return None, keys
        child = child_of(node, key)
        if child is not None:  # else the key is the tag of a union's member, which is no part of the path
            node, keys = child, [*keys, key]
    if detail["type"] == "missing" or (rule is not None and rule.message == MISSING):
        keys = [*keys, loc[-1]]
    if detail["type"] == "union_tag_invalid":
        node = child_of(node, "name") or node
    if detail["type"] == "too_short" and len(children_of(node)) >= detail["ctx"]["min_length"]:
        return None, keys  # pydantic leaves wrong items out before it counts
    return None if node.broken else node, keys


def _rule(detail: ErrorDetails) -> RuleError | None:
    error = detail.get("ctx", {}).get("error")
    return error if isinstance(error, RuleError) else None


def _message(detail: ErrorDetails, node: Node, path: str, model: type[BaseModel]) -> str:
    kind, loc = detail["type"], detail["loc"]
    context = detail.get("ctx", {})
    match kind:
        case "int_type" if loc and loc[-1] == "number" and isinstance(node.value, str | list):  # of seeds
            looks = f"[{', '.join(map(str, node.value))}]" if isinstance(node.value, list) else "[6, 8]"
            return f"{_value_message(kind, context, node)}; seeds in steps are {{looks: {looks}}}"
        case "extra_forbidden":
            return unknown(str(loc[-1]), list(_models_at(model, loc[:-1])[0].model_fields), "key")
        case "missing":
            return "missing"
        case "literal_error" | "union_tag_invalid":
            names = re.findall(r"'([^']*)'", context.get("expected_tags") or context["expected"])
            return _unknown_name(node, names, path, _ALTERNATIVES.get(loc[-1]) if loc else None)
        case "union_tag_not_found":
            return f"missing key 'name'; one of {_names(model, loc)}"
        case "model_type" | "dict_type" | "model_attributes_type":
            sections = _names(model, loc)
            return f"expected a mapping{f' with a name, one of {sections}' if sections else ''}; got {node}"
        case "value_error":
            rule = _rule(detail)
            return str(context["error"]) if rule is None else rule.message
        case _:
            return _value_message(kind, context, node) if kind in _RULES else detail["msg"]


def _value_message(kind: str, context: Mapping[str, object], node: Node) -> str:
    if kind == "int_type" and node.domain:
        domain = node.domain.split()[0]
        return f"needs whole numbers: use {_WHOLE[domain]} in place of {domain}"
    hint = "; quote it" if kind == "string_type" and isinstance(node.value, int | float) and not node.raw else ""
    return _RULES[kind].format(**context, node=node) + hint


def _unknown_name(node: Node, names: Sequence[str], path: str, alternative: str | None = None) -> str:
    if alternative and len(names) == 1:
        return f"expected {names[0]} or {alternative}, got {node}"
    if not isinstance(node.value, str):
        return f"expected one of {', '.join(names)}; got {node}"
    reason = WHY_NOT.get((path, node.value))
    return unknown(node.raw or node.value, names) + (f"; {reason}" if reason else "")


def _names(model: type[BaseModel], loc: Sequence[Key]) -> str:
    """The names of the sections that may stand at a place where the name chooses; else empty."""
    models = [model for model in _models_at(model, loc) if get_origin(_name_type(model)) is Literal]
    return ", ".join(get_args(_name_type(model))[0] for model in models)


def _models_at(model: type[BaseModel], loc: Sequence[Key]) -> list[type[BaseModel]]:
    """The sections that may stand at the location of an error, which names the chosen member of each union."""
    models = [model]
    for key in loc:
        if key in (BUILT_IN, OWN):  # which kind of part it is
            continue
        fields = [model.model_fields[key] for model in models if isinstance(key, str) and key in model.model_fields]
        tagged = [model for model in models if key in get_args(_name_type(model))]
        if tagged and len(models) > 1:  # before a setting of another member: ce is a loss, and a weight of dice
            models = tagged
        elif fields:
            models = [section for field in fields for section in _models_in(field.annotation)]
        elif isinstance(key, str):  # a tag that is no name, of a section beside a number, chooses nothing
            models = tagged or models
    return models


def _name_type(model: type[BaseModel]) -> object:
    return model.model_fields["name"].annotation if "name" in model.model_fields else None


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _models_in(argument)]
