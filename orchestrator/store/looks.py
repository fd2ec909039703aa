"""Looks at a comparison while it runs: the rule that a plan registers, and what each look that was taken decided.

``looks-<stage>.json`` holds the looks with the differences that decided them. It is a note, not a source: the same
differences give the same decisions, and a launch works them out anew. One thing it alone knows: a run that failed, was
repeated and has a value now was missing at the looks before, and counts from the next one on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from pydantic import TypeAdapter

from orchestrator.store import layout
from orchestrator.store.objects import Objects
from orchestrator.store.shapes import Whole, read_shaped
from orchestrator.studyfile.sections.looks import Spending

Decision: TypeAlias = Literal["better", "worse", "futile", "on", "not shown"]
"""``better``, ``worse``: shown, the arm stops; ``futile``: it stops, as little hope is left; ``on``: it goes on; ``not
shown``: no look is left."""


@dataclass(frozen=True)
class Looks:
    """When arms may stop, and by what rule: registered before the first run."""

    seeds: tuple[Whole, ...]
    """Blocks that have ended at each look."""
    spending: Spending
    futility: float | None
    """Chance of a shown difference below which an arm stops; None: no arm stops for futility."""
    alpha: float
    """Level over all arms and looks."""


@dataclass(frozen=True)
class ArmLook:
    """What an arm in play showed at a look, and what became of it."""

    differences: Mapping[int, float]
    """Arm minus baseline in the first objective, of the pairs that came since the look before, by block."""
    pairs: int
    """All pairs by now."""
    p: float
    """Sign-flip p of all pairs, as if nobody had looked before."""
    boundary: float | None
    """The largest p that was shown at this look; None where even the smallest possible was not."""
    sequential_p: float
    adjusted_p: float
    """Over the arms, by Holm's method."""
    chance: float | None
    """That a difference is shown at the last look if the rest is as so far; None at the last look."""
    decision: Decision


@dataclass(frozen=True)
class TakenLook:
    """A look that was taken."""

    number: int
    """From 1."""
    seeds: int
    arms: Mapping[str, ArmLook]
    """Those in play."""

    def names(self, *decisions: Decision) -> list[str]:
        """Arms with one of these decisions."""
        return [name for name, arm in self.arms.items() if arm.decision in decisions]


def most_blocks(arms: Sequence[str], baseline: str, seeds: int, taken: Sequence[TakenLook]) -> dict[str, int]:
    """On how many of so many seeds each arm runs at most, after the looks that were taken: one that stopped no more."""
    blocks = dict.fromkeys(arms, seeds)
    for look in taken:
        blocks |= dict.fromkeys(look.names("better", "worse", "futile"), look.seeds)
    others = [count for arm, count in blocks.items() if arm != baseline]
    return blocks | {baseline: max(others, default=seeds)}


def decided(taken: Sequence[TakenLook]) -> dict[str, TakenLook]:
    """The look at which each arm that goes on no more stopped."""
    return {arm: look for look in taken for arm, one in look.arms.items() if one.decision != "on"}


@dataclass(frozen=True)
class KeptLooks:
    """The looks at a stage as they lie in the study's directory."""

    plan: str
    """Hash of the plan."""
    looks: tuple[TakenLook, ...]

    def write(self, objects: Objects, stage: str) -> None:
        """Keep them."""
        objects.write_json(layout.looks(stage), asdict(self))

    @staticmethod
    def read(objects: Objects, stage: str) -> "KeptLooks | None":
        """What was kept; None where nothing was.

        Raises:
            DamagedError: it is damaged, or no version writes such content.
        """
        return read_shaped(objects, layout.looks(stage), _KEPT)


_KEPT: TypeAdapter[KeptLooks] = TypeAdapter(KeptLooks)
