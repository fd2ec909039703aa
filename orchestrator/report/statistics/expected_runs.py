"""How many runs a comparison by looks takes on average, and how likely an arm is shown: by simulation, before any run.

Arms and baseline have independent normal noise; a difference has the baseline's in common with the other arms. Effects
are in standard deviations of the differences, as in `power`. The same numbers are drawn each time.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from orchestrator.report.statistics.group_sequential import GroupSequential
from orchestrator.report.statistics.sign_flip import Floats
from orchestrator.store.looks import Looks

ARMS_SIMULATED = 5
"""With more arms, these stand for all of them: each has to pass the level of the whole family."""
COURSES = 240
"""Arms that are simulated in all: a second of work; the mean number of runs is good to 3 %."""


@dataclass(frozen=True)
class ExpectedRuns:
    """Means over the simulated studies."""

    runs: float
    """Of all arms and the baseline."""
    shown: float
    """Share of the arms that are shown to differ, in the direction of the effect."""


@lru_cache(maxsize=16)
def expected_runs(looks: Looks, arms: int, effect: float) -> ExpectedRuns:
    """Simulate studies in which every arm has the same effect.

    Args:
        looks: The rule.
        arms: Arms besides the baseline, at least one.
        effect: Mean over standard deviation of the differences.
    """
    simulated = min(arms, ARMS_SIMULATED)
    rng = np.random.default_rng(0)
    courses = [course(looks, drawn(rng, simulated, looks.seeds[-1], effect), arms) for _ in range(COURSES // simulated)]
    names = range(simulated)
    blocks = np.array([[one.blocks(str(arm)) for arm in names] for one in courses])
    shown = [look.arms[name].decision == "better" for one in courses for look in one.taken for name in look.arms]
    runs = blocks.mean() * arms + blocks.max(axis=1).mean()
    return ExpectedRuns(float(runs), sum(shown) / blocks.size)


def drawn(rng: np.random.Generator, arms: int, seeds: int, effect: float) -> Floats:
    """[arms, seeds] Differences with standard deviation 1 of one study."""
    noise = rng.normal(size=(arms + 1, seeds))
    differences: Floats = (noise[1:] - noise[0]) / 2**0.5 + effect
    return differences


def course(looks: Looks, differences: Floats, family: int | None = None) -> GroupSequential:
    """All looks at a study whose differences [arms, seeds] are known, nan where a pair is missing.

    Its arms are called ``0``, ``1``, ...
    """
    arms = [str(arm) for arm in range(len(differences))]
    taking = GroupSequential(looks, arms, greater_is_better=True, family=family, describes=False)
    before = 0
    while not taking.over:
        seeds = looks.seeds[len(taking.taken)]
        new = {arm: enumerate(differences[int(arm), before:seeds].tolist(), before) for arm in taking.in_play}
        taking.take({arm: {block: d for block, d in pairs if math.isfinite(d)} for arm, pairs in new.items()})
        before = seeds
    return taking
