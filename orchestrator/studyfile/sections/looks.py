"""Seeds by looks: ``seeds: {looks: [6, 8, 12, 16]}`` in the ``confirm`` and ``ablation`` sections of a study file."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, field_validator

from trainable.section import Section

ALPHA = 0.05
"""Level of every verdict, over all arms of a stage and all looks at it."""
MOST_LOOKS = 12
"""More looks save next to nothing: each stops for what the one before nearly stopped for."""

Spending: TypeAlias = Literal["pocock", "obrien_fleming"]
Count: TypeAlias = Annotated[int, Field(ge=2, le=1000)]
"""More pairs show nothing more: differences of a thirtieth of their spread are found with a thousand."""


LEAST_SEEDS = 1 + math.ceil(-math.log2(ALPHA))
"""With fewer, no pattern of signs is as rare as the level: 2**(1-n) is the smallest p of n pairs."""


class LooksSection(Section):
    """Run the seeds in steps: after each an arm stops that is shown to differ, or has little hope to be shown."""

    looks: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Seeds after which the arms are looked at, increasing; the last are the most that an arm runs."""
    spending: Spending = "obrien_fleming"
    """How the level of 0.05 is spread over the looks: obrien_fleming keeps nearly all of it for the last ones and loses
    little power; pocock spends it evenly, so that one arm with a large effect stops earlier."""
    futility: Annotated[float, Field(gt=0.0, le=0.5)] | None = 0.1
    """An arm stops whose chance to be shown at the last look, if the rest is as so far, is less; null: none does."""

    @field_validator("looks")
    @classmethod
    def _possible(cls, looks: tuple[int, ...]) -> tuple[int, ...]:
        """Refuse looks that do not increase, more than anybody needs, and a first one that can show nothing."""
        if len(looks) > MOST_LOOKS:
            raise ValueError(f"{len(looks)} looks; at most {MOST_LOOKS}")
        for before, after in pairwise(looks):
            if after <= before:
                raise ValueError(f"must increase, got {after} after {before}")
        if looks and looks[0] < LEAST_SEEDS:
            smallest = f"no p below {2.0 ** (1 - looks[0]):.3g} is possible with {looks[0]} seeds"
            raise ValueError(f"the first look can show nothing: {smallest}; begin with {LEAST_SEEDS} or more")
        return looks


def _number_or_looks(value: object) -> str:
    return "by_looks" if isinstance(value, Mapping | LooksSection) else "number"


Seeds: TypeAlias = Annotated[
    Annotated[Count, Tag("number")] | Annotated[LooksSection, Tag("by_looks")], Discriminator(_number_or_looks)
]
"""How many seeds: a number, or looks."""


def most_seeds(seeds: int | LooksSection) -> int:
    """The seeds that an arm runs at most."""
    return seeds if isinstance(seeds, int) else seeds.looks[-1]
