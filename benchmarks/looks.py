"""What seeds by looks cost and save: error, power and runs, by simulated studies.

Run:   python -m benchmarks.looks [--null N] [--alternative N]
Time:  about 10 minutes on one CPU core that nobody else uses.

Every study has a baseline and arms with a score per seed; the rule of the product (`GroupSequential`) sees the paired
differences and nothing else. Effects are in standard deviations of the differences. Noise: normal, or Student's t with
2 degrees of freedom (no variance; scaled to the normal's quartiles). Beside each rule stands the test without looks:
all 16 seeds, sign-flip test, Holm. A rate has its 95 % interval in brackets (Clopper, Pearson).

  error     share of the studies in which an arm without an effect is shown to differ: its interval has to reach 0.05
  peeking   the same of testing at 0.05 at every look and stopping at the first difference, as people do
  power     share of the arms with an effect that are shown, in the right direction
  runs      mean number of runs of all arms and the baseline
  interval  share of 95 % t intervals, of the seeds that ran, that hold the effect: they are nominal
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from orchestrator.report.statistics.expected_runs import course
from orchestrator.report.statistics.group_sequential import GroupSequential, holm
from orchestrator.report.statistics.sign_flip import Floats, exact_sign_flip, mean_interval
from orchestrator.store.looks import Looks

SEEDS = (6, 8, 12, 16)
ALPHA = 0.05
RULES: Mapping[str, Looks] = {
    "pocock": Looks(SEEDS, "pocock", None, ALPHA),
    "pocock, futility 0.1": Looks(SEEDS, "pocock", 0.1, ALPHA),
    "obrien_fleming": Looks(SEEDS, "obrien_fleming", None, ALPHA),
    "obrien_fleming, futility 0.1": Looks(SEEDS, "obrien_fleming", 0.1, ALPHA),
}
CHUNK = 64
"""Studies whose sign patterns are counted at once."""

Noise = Callable[[np.random.Generator, tuple[int, ...]], Floats]
NOISES: Mapping[str, Noise] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "t, 2 df": lambda rng, shape: rng.standard_t(2, size=shape) * (stats.norm.ppf(0.75) / stats.t.ppf(0.75, 2)),
}


@dataclass(frozen=True)
class Scenario:
    """Studies of one kind."""

    noise: str
    effects: tuple[float, ...]
    """Of each arm; 0 for those without one."""
    missing: float = 0.0
    """Share of the runs that fail."""

    @property
    def title(self) -> str:
        """The scenario in a cell."""
        effects = "none" if not any(self.effects) else ", ".join(f"{effect:g}" for effect in self.effects)
        lost = f", {self.missing:.0%} of the runs failed" if self.missing else ""
        return f"{self.noise}{lost} | {len(self.effects)} | {effects}"


@dataclass
class Tally:
    """What the studies of a scenario gave under a rule."""

    studies: int = 0
    errors: int = 0
    """Studies in which an arm without an effect is shown."""
    peeking: int = 0
    found: int = 0
    with_effect: int = 0
    runs: int = 0
    covered: int = 0
    intervals: int = 0
    excess: list[float] = field(default_factory=list)
    """How far the mean differences of shown arms lie above their effects."""


def studies(scenario: Scenario, count: int) -> Iterator[Floats]:
    """Differences [arms, seeds] of each study, nan where a run failed; the same for every rule."""
    rng = np.random.default_rng(18)
    arms = len(scenario.effects)
    for _ in range(count):
        scores = NOISES[scenario.noise](rng, (arms + 1, SEEDS[-1])) / 2**0.5
        scores[rng.random(scores.shape) < scenario.missing] = np.nan
        yield scores[1:] - scores[0] + np.array(scenario.effects)[:, None]


def by_looks(scenario: Scenario, rule: Looks, count: int) -> Tally:
    """The scenario's studies under a rule with looks."""
    tally = Tally()
    for differences in studies(scenario, count):
        taken = course(rule, differences)
        blocks = [taken.blocks(str(arm)) for arm in range(len(differences))]
        add(tally, scenario, differences, verdicts(taken), blocks)
        looks = [arm.p for look in taken.taken for arm in look.arms.values()]
        tally.peeking += len(scenario.effects) == 1 and min(looks) <= ALPHA
    return tally


def verdicts(taken: GroupSequential) -> list[int]:
    """Of each arm: 1 better, -1 worse, 0 not shown."""
    decisions = {name: arm.decision for look in taken.taken for name, arm in look.arms.items()}
    return [{"better": 1, "worse": -1}.get(decisions[name], 0) for name in sorted(decisions, key=int)]


def without_looks(scenario: Scenario, count: int) -> Tally:
    """The scenario's studies on all seeds."""
    tally, chunk = Tally(), []
    for number, differences in enumerate(studies(scenario, count), start=1):
        chunk.append(differences)
        if len(chunk) == CHUNK or number == count:
            whole = np.array(chunk)
            p = exact_sign_flip(np.nan_to_num(whole).reshape(-1, SEEDS[-1])).reshape(whole.shape[:2])
            for one, own in zip(chunk, p, strict=True):
                shown = np.array(holm(list(map(float, own)))) <= ALPHA
                signs = (np.sign(np.nansum(one, axis=1)) * shown).astype(int).tolist()
                add(tally, scenario, one, signs, [SEEDS[-1]] * len(one))
            chunk = []
    return tally


def add(tally: Tally, scenario: Scenario, differences: Floats, signs: list[int], blocks: list[int]) -> None:
    """Count a study whose arms ran on so many seeds."""
    tally.studies += 1
    tally.errors += any(sign for sign, effect in zip(signs, scenario.effects, strict=True) if not effect)
    tally.runs += sum(blocks) + max(blocks)
    for sign, effect, seeds, row in zip(signs, scenario.effects, blocks, differences, strict=True):
        seen = row[:seeds][np.isfinite(row[:seeds])]
        tally.with_effect += bool(effect)
        tally.found += sign == 1 and bool(effect)
        low, high = mean_interval(seen)
        if low is not None and high is not None:
            tally.intervals += 1
            tally.covered += low <= effect <= high
        if sign == 1 and effect:
            tally.excess.append(float(seen.mean()) - effect)


def rate(hits: int, total: int) -> str:
    """A share with its 95 % interval."""
    low, high = stats.binomtest(hits, total).proportion_ci(0.95)
    return f"{hits / total:.4f} [{low:.4f}, {high:.4f}]"


def row(scenario: Scenario, name: str, tally: Tally) -> str:
    """A line of the table."""
    error = rate(tally.errors, tally.studies) if not all(scenario.effects) else ""
    peeking = f"{tally.peeking / tally.studies:.3f}" if tally.peeking and not any(scenario.effects) else ""
    power = rate(tally.found, tally.with_effect) if tally.with_effect else ""
    most = (len(scenario.effects) + 1) * SEEDS[-1]
    excess = f"{np.mean(tally.excess):+.2f}" if tally.excess else ""
    runs = f"{tally.runs / tally.studies:.1f} of {most}"
    covered = f"{tally.covered / tally.intervals:.3f}"
    return f"| {' | '.join((scenario.title, name, error, peeking, power, runs, covered, excess))} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--null", type=int, default=10_000, help="studies without any effect")
    parser.add_argument("--alternative", type=int, default=2_000, help="studies with effects")
    options = parser.parse_args()
    began, cpu = time.time(), time.process_time()
    null = [Scenario(noise, (0.0,) * arms) for noise in NOISES for arms in (1, 5)]
    null.append(Scenario("normal", (0.0,) * 5, missing=0.1))
    effects: list[tuple[float, ...]] = [(0.75,), (1.0,), (1.5,), (1.0,) * 5, (1.5, 1.5, 0.0, 0.0, 0.0)]
    alternative = [Scenario("normal", some) for some in effects] + [Scenario("t, 2 df", (1.0,))]
    print("| noise | arms | effects | rule | error | peeking | power | runs | interval | excess |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for scenario in [*null, *alternative]:
        count = options.alternative if any(scenario.effects) else options.null
        print(row(scenario, "no looks", without_looks(scenario, count)), flush=True)
        for name, rule in RULES.items():
            print(row(scenario, name, by_looks(scenario, rule, count)), flush=True)
    seconds, load = time.time() - began, os.getloadavg()[2]
    print(f"\n{time.process_time() - cpu:.0f} s of CPU in {seconds:.0f} s; load {load:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
