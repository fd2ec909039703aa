"""The base of every configuration section: immutable, strict, and closed to unknown keys."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen section of a configuration.

    Strict: a string is not taken for a number nor a boolean for an integer; unknown keys, NaN and infinities are
    refused. Field descriptions become the hints that editors show (``search_spaces/schema.json``).
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
