"""The base of every configuration section: immutable, strict, and closed to unknown keys."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, JsonValue


class Section(BaseModel):
    """A frozen section of a configuration.

    Strict: a string is not taken for a number nor a boolean for an integer; unknown keys, NaN and infinities are
    refused. Field descriptions become the hints that editors show (``search_spaces/schema.json``).
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


MOST = 10**15
"""Bound of seeds: tables and databases hold whole numbers of 64 bits, and what reads them may use real ones."""
Seed = Annotated[int, Field(ge=-MOST, le=MOST)]
"""Any whole number but absurd ones."""


def all_settings(section: Section) -> JsonValue:
    """A section as plain values, with the defaults that ``model_dump`` leaves out (``exclude_if``).

    Settings that came after a version was released are left out at their default, so that trials which older versions
    kept stay equal to those of today.
    """
    return _filled(section, section.model_dump(mode="json"))


def _filled(value: Any, dumped: JsonValue) -> JsonValue:
    """A dumped value with what a section leaves out; the dump of a section holds those of the sections in it."""
    if not isinstance(value, Section) or not isinstance(dumped, dict):  # such a section is written by its name alone
        return dumped
    values = {name: getattr(value, name) for name in (*type(value).model_fields, *(value.model_extra or ()))}
    return {n: _filled(v, dumped[n]) if n in dumped else _left_out(v) for n, v in values.items()}


def _left_out(value: Any) -> JsonValue:
    return all_settings(value) if isinstance(value, Section) else value


def _with_name(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


BY_NAME = Field(discriminator="name", json_schema_extra={"name_alone": True})
"""A union of sections that are told apart by their ``name``."""

NAME_ALONE = BeforeValidator(_with_name)
"""Lets the name of such a section stand for the mapping with its defaults: ``uniform`` for ``{name: uniform}``."""


BUILT_IN, OWN = "built-in part", "own part"
"""Tags of the two members of a union in which a part of one's own may stand; no key of a file has such a name."""


def _one_or_list(value: object) -> str:
    return "list" if isinstance(value, list | tuple) else "one"


ONE_OR_LIST = Discriminator(_one_or_list)
"""Tells a single value (``Tag("one")``) from a list (``Tag("list")``), so that a mistake is not told once for each."""


def _is_number(value: object) -> bool:
    """Of what is neither word nor number, a list or true, the word's message names both."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _word_or_number(value: object) -> str:
    return "number" if _is_number(value) else "word"


WORD_OR_NUMBER = Discriminator(_word_or_number)
"""The same of a word (``Tag("word")``) and a number (``Tag("number")``)."""


def _name_or_amount(value: object) -> str:
    return "amount" if _is_number(value) else "alone"


NAME_OR_AMOUNT = Discriminator(_name_or_amount)
"""The same of a word (``Tag("alone")``) and a number that need not be whole (``Tag("amount")``)."""
