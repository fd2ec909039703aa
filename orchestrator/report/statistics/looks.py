"""The sign-flip test at several looks: what one arm's paired differences show after each, with its error controlled.

Under the null hypothesis each difference is as likely positive as negative, whatever its size and whatever the others
are. So the sizes that were seen make all patterns of signs equally likely, and the chance of crossing any boundary is
counted, not approximated: at look k a pattern that crossed none of the earlier boundaries crosses this one if the sum
of its differences lies so far from zero that the patterns which have crossed by now are no larger a share of all than
the level has to spend by now (`alpha_spending`). What a look cannot spend, as patterns are few, a later one may.

The sequential p of an arm is the smallest level at which it has crossed. Levels up to ``alpha`` are nested: who crosses
at a level crosses at every higher one up to ``alpha``, so that Holm's method over sequential p is the closed test
(`group_sequential`). For that a look gives a pattern only what all levels between its own and ``alpha`` can pay. Up to
``alpha`` the sequential p is exact; above, it describes. With a single look it is the p of `sign_flip`.

The boundary of a look needs no difference of a later one, and it does not need the arm to go on: an arm that stops at
a look for whatever reason has had fewer chances to cross, not more.

Sources: Jennison, Turnbull, Group Sequential Methods, 2000, chapters 7 and 16; Lan, DeMets 1983.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from orchestrator.report.statistics.alpha_spending import Spending, level_to_spend, spent
from orchestrator.report.statistics.sign_flip import TIE, Floats

EXACT_PAIRS = 16
"""Looks that end here count all 2**(n-1) patterns; with later ones the same `DRAWN` patterns serve every look."""
DRAWN = 19_999
"""Beside the observed one. Under the null it is one more of them, so the error is controlled as before."""
COARSE = 48
"""Levels above ``alpha``, where nothing is decided, that an earlier look may leave behind."""
MOST_CELLS = 2**21
"""Of a table of levels and patterns that is counted at once."""

Whole = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Look:
    """What an arm's differences show at a look."""

    pairs: int
    """Differences so far."""
    p: float
    """Sign-flip p of all of them, as if nobody had looked before."""
    sequential_p: float
    """The smallest level at which the arm has crossed by now; 1 where there is none."""
    z: float
    """Sum of the differences over the root of the sum of their squares: N(0, 1) under the null, nearly."""
    shares: Floats
    """[candidates] p of the patterns that are extreme enough to cross at ``alpha``, the most extreme first."""
    levels: Floats
    """[candidates] The level at which each of them crosses at this look."""

    def boundary(self, level: float) -> float | None:
        """The largest p with which a pattern crosses at this look; None where none can."""
        crossing = self.shares[self.levels <= level]
        return float(crossing[-1]) if crossing.size else None


class SequentialTest:
    """One arm's differences, look after look.

    Args:
        looks: planned seeds at each look, increasing.
        spending: how the level is spread over the looks.
        alpha: the level up to which decisions are made.
        describes: whether sequential p above alpha are worked out; simulations do without, and have 1 for them.
    """

    def __init__(self, looks: Sequence[int], spending: Spending, alpha: float, *, describes: bool = True) -> None:
        self._times = [seeds / looks[-1] for seeds in looks]
        self._spending, self._alpha, self._describes = spending, alpha, describes
        self._signs = None if looks[-1] <= EXACT_PAIRS else _drawn_signs(looks[-1])
        patterns = 1 if self._signs is None else len(self._signs)
        self._sums = np.zeros(patterns)
        """[patterns] Of every pattern of signs, the observed one first; turned as a whole they are no other pattern."""
        self._needed = np.full(patterns, np.inf)
        """[patterns] The smallest level at which each has crossed by now."""
        self._taken, self._pairs, self._squares, self._largest, self._sequential_p = 0, 0, 0.0, 0.0, 1.0

    def look(self, differences: Sequence[float] | Floats) -> Look:
        """Take the next look: ``differences`` are those that have come since the last one; there may be none.

        Raises:
            ValueError: a difference is not finite, or no look is left.
        """
        new = np.asarray(differences, dtype=np.float64)
        if not np.isfinite(new).all() or self._taken == len(self._times):
            raise ValueError(f"differences {new.tolist()} at look {self._taken + 1} of {len(self._times)}")
        crossed_before = np.sort(self._needed)
        self._extend(new)
        distances, tie = np.abs(self._sums), TIE * self._largest
        p = float(np.mean(distances >= distances[0] - tie))
        z = float(self._sums[0] / self._squares**0.5) if self._squares else 0.0
        time, last = self._times[self._taken], self._taken + 1 == len(self._times)
        self._taken += 1
        share = float(spent(self._spending, time, self._alpha))
        if last and p > share and not self._describes:
            return Look(self._pairs, p, self._sequential_p, z, np.empty(0), np.empty(0))
        most = math.floor(share * len(distances)) if last else len(distances)  # nobody asks what others need then
        ranking = _Ranking.of(distances, self._needed, crossed_before, tie, most)
        columns = ranking.ends[ranking.ends <= share * ranking.patterns]
        low = self._low(ranking, columns, time)
        wanted = slice(ranking.own, ranking.own + 1) if last else slice(None)
        levels = self._levels(ranking, low, wanted, time)
        self._sequential_p = min(self._sequential_p, float(levels[0 if last else ranking.own]))
        if not last:
            self._needed = _coarse(np.minimum(self._needed, levels[ranking.groups]), self._alpha)
        return Look(self._pairs, p, self._sequential_p, z, columns / ranking.patterns, low)

    def _extend(self, new: Floats) -> None:
        """Give every pattern the signs of the new differences; those of the first pattern are as observed."""
        if self._signs is None:
            for value in new:
                if self._pairs:
                    self._sums = np.concatenate([self._sums + value, self._sums - value])
                    self._needed = np.tile(self._needed, 2)
                else:  # the first sign stays +
                    self._sums = self._sums + value
                self._pairs += 1
        else:
            self._sums = self._sums + self._signs[:, self._pairs : self._pairs + len(new)] @ new
            self._pairs += len(new)
        self._squares += float(new @ new)
        self._largest = max(self._largest, float(np.abs(new).max(initial=0.0)))

    def _low(self, ranking: "_Ranking", columns: Whole, time: float) -> Floats:
        """Levels up to alpha at which the most extreme groups cross now; infinite where they do not cross at alpha."""
        jumps = ranking.jumps(self._alpha)
        stops = np.append(jumps[1:], np.inf)
        needed = self._unpayable(ranking, columns, jumps, stops, time)
        return np.where(needed <= self._alpha, needed, np.inf)

    def _levels(self, ranking: "_Ranking", low: Floats, wanted: slice, time: float) -> Floats:
        """Level at which groups cross now: at most alpha where they cross there, else what all higher ones can pay."""
        columns = ranking.ends[wanted]
        levels = np.full(len(ranking.ends), np.inf)
        levels[: len(low)] = low
        levels = levels[wanted]
        if self._describes and not np.isfinite(levels).all():
            jumps = ranking.jumps(1.0)
            first = np.searchsorted(jumps, self._alpha, side="right") - 1  # the one in force at alpha
            high = self._unpayable(ranking, columns, jumps[first:], np.append(jumps[first + 1 :], np.inf), time)
            levels = np.where(np.isfinite(levels), levels, high)
        return levels

    def _unpayable(self, ranking: "_Ranking", columns: Whole, jumps: Floats, stops: Floats, time: float) -> Floats:
        """The end of the levels, from each jump to its stop, that cannot pay for crossing so many patterns."""
        ends = np.zeros(len(columns))
        rows = max(1, MOST_CELLS // max(1, int(columns[-1]) if len(columns) else 1))
        for at in range(0, len(jumps), rows):
            begin, stop = jumps[at : at + rows, None], stops[at : at + rows, None]
            level = level_to_spend(self._spending, time, ranking.crossed(columns, jumps[at : at + rows]))
            ends = np.maximum(ends, np.where(level > begin, np.minimum(level, stop), 0.0).max(axis=0))
        return ends


@dataclass(frozen=True)
class _Ranking:
    """Patterns by their distance from zero, the farthest first; those as far as each other are a group."""

    patterns: int
    """All there are; those that are not among the farthest may be left out."""
    needed: Floats
    """[ranked] What each has needed to cross by the look before, the farthest first."""
    before: Floats
    """[patterns before] What patterns have needed by the look before, when they were fewer, the smallest first."""
    groups: Whole
    """[ranked] The group of each pattern, in the order of the patterns."""
    ends: Whole
    """[groups] Patterns at least as far as those of the group."""
    own: int
    """The observed pattern's group."""

    @staticmethod
    def of(distances: Floats, needed: Floats, before: Floats, tie: float, most: int) -> "_Ranking":
        """The ranking of so many of the farthest patterns, and of all that are as far as the observed one.

        Distances are equal where they differ by less than a tie.
        """
        patterns = len(distances)
        if most < patterns:
            least = min(distances[0], np.partition(distances, patterns - most - 1)[patterns - most - 1]) - tie
            ranked = np.flatnonzero(distances >= least)  # the observed one, at 0, is among them
            distances, needed = distances[ranked], needed[ranked]
        order = np.argsort(-distances)
        new = -np.diff(distances[order]) > tie
        ends = np.append(np.flatnonzero(new), len(order) - 1) + 1
        groups = np.empty(len(order), dtype=np.int64)
        groups[order] = np.concatenate([[0], np.cumsum(new)])
        return _Ranking(patterns, needed[order], before, groups, ends, int(groups[0]))

    def jumps(self, most: float) -> Floats:
        """Levels at which further patterns have crossed before, 0 first."""
        return np.unique(np.append(self.before[: np.searchsorted(self.before, most, side="right")], 0.0))

    def crossed(self, columns: Whole, levels: Floats) -> Floats:
        """Share of the patterns that have crossed before at a level, or lie among so many first ones.

        Args:
            columns: [columns] How many of the first patterns.
            levels: [levels] Where patterns have crossed before.

        Returns:
            [levels, columns].
        """
        before = (np.searchsorted(self.before, levels, side="right") / len(self.before))[:, None]
        if len(columns) == 1:
            first = np.sort(self.needed[: columns[0]])
            fresh: Whole = (len(first) - np.searchsorted(first, levels, side="right"))[:, None]
        else:
            limit = int(columns[-1]) if len(columns) else 0
            fresh = np.cumsum(self.needed[None, :limit] > levels[:, None], axis=1, dtype=np.int64)[:, columns - 1]
        return before + fresh / self.patterns


def _coarse(needed: Floats, alpha: float) -> Floats:
    """The levels, those above alpha rounded up to a few."""
    grid = np.append(np.geomspace(alpha, 1.0, COARSE)[1:], np.inf)
    return np.where(needed <= alpha, needed, grid[np.searchsorted(grid[:-1], needed)])


@lru_cache(maxsize=4)
def _drawn_signs(pairs: int) -> Floats:
    """[1 + DRAWN, pairs] Signs of patterns, those of the first as observed; equal for every arm and launch."""
    drawn = np.random.default_rng(0).integers(0, 2, size=(DRAWN, pairs)) * 2.0 - 1.0
    return np.vstack([np.ones((1, pairs)), drawn])
