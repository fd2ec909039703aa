"""The section ``budget`` of a study file: how much all launches of a study may use together."""

from typing import Annotated

from pydantic import Field, field_validator

from orchestrator.studyfile.moment import moment
from trainable.section import Section

MOST_HOURS = 10_000_000
"""A thousand GPUs for a year: more is a slip of the keyboard."""


class BudgetSection(Section):
    """What a study may use, over all its launches and stages; no trial begins that it cannot pay to its end."""

    gpu_hours: Annotated[float, Field(gt=0, le=MOST_HOURS)] | None = None
    """GPU-hours that trials may occupy, half a GPU for an hour is half of one; null: no limit."""
    hours: Annotated[float, Field(gt=0, le=MOST_HOURS)] | None = None
    """Hours in which launches may run trials, added up; null: no limit."""
    until: str | None = None
    """When the study has to have ended, as 2027-01-15T08:00; without an offset it is local time; null: no limit."""
    price_per_gpu_hour: Annotated[float, Field(ge=0, le=1_000_000)] | None = None
    """Price of a GPU-hour, in any currency: what was spent is shown in it too; it limits nothing."""

    @field_validator("until", mode="before")
    @classmethod
    def _is_text(cls, until: object) -> object:
        if isinstance(until, int | float):
            raise ValueError(f"must be a date like 2027-01-15T08:00, got {until}")
        return until

    @field_validator("until")
    @classmethod
    def _is_a_moment(cls, until: str | None) -> str | None:
        if until is not None:
            moment(until)
        return until

    @property
    def limits_anything(self) -> bool:
        """Whether there is a limit; a price is none."""
        return any(limit is not None for limit in (self.gpu_hours, self.hours, self.until))

    @property
    def ends(self) -> float | None:
        """``until`` in seconds since 1970."""
        return None if self.until is None else moment(self.until)
