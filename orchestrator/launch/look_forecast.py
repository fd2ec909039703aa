"""What a comparison can show and what looks at it save, told for a dry run."""

from collections.abc import Iterator

from rich.console import Console

from orchestrator.plan.comparison import registered_looks
from orchestrator.report.statistics.alpha_spending import spent
from orchestrator.report.statistics.sign_flip import evidence, smallest_p
from orchestrator.store.looks import Looks
from orchestrator.studyfile.sections.looks import LooksSection, most_seeds
from orchestrator.terminal.console import say


def say_evidence(arms: int, seeds: int | LooksSection, console: Console) -> None:
    """Tell what so many arms besides the baseline can show, and what looks at them save."""
    say(console, f"evidence    {evidence(arms, most_seeds(seeds))}")
    looks = registered_looks(seeds)
    for line in look_lines(looks, arms) if looks is not None and arms > 0 else ():
        say(console, f"looks       {line}")


def look_lines(looks: Looks, arms: int) -> Iterator[str]:
    """The looks, which of them can show what, and the runs that are to be expected."""
    rule = "none stops for futility" if looks.futility is None else f"futility below a chance of {looks.futility:g}"
    yield f"after {_joined(looks.seeds)} seeds ({looks.spending}, {rule}); at most {(arms + 1) * looks.seeds[-1]} runs"
    powerless = [seeds for seeds in looks.seeds[:-1] if smallest_p(seeds) > _most(looks, seeds, arms)]
    if powerless:
        first = "an arm" if arms == 1 else f"the first of {arms} arms"
        yield f"after {_joined(powerless)} seeds {first} can stop for futility only: no p is small enough there"
    yield expected_line(looks, arms)


def expected_line(looks: Looks, arms: int) -> str:
    """Runs to be expected without an effect, and with one that the last look would find four times in five."""
    from orchestrator.report.statistics.expected_runs import expected_runs  # late: they take a second together
    from orchestrator.report.statistics.power import detectable_effect

    without, effect = expected_runs(looks, arms, 0.0), detectable_effect(looks.seeds[-1], arms)
    line = f"expected: {without.runs:.0f} runs if no arm differs"
    if effect is None:
        return line
    size = round(effect, 1)
    each = "it differs" if arms == 1 else "each differs"
    line += (
        f", {expected_runs(looks, arms, size).runs:.0f} if {each} by {size:g} standard deviations of the differences"
    )
    return f"{line} (simulated)"


def _most(looks: Looks, seeds: int, arms: int) -> float:
    """The largest p that any arm can be shown with at a look."""
    return float(spent(looks.spending, seeds / looks.seeds[-1], looks.alpha / arms))


def _joined(numbers: tuple[int, ...] | list[int]) -> str:
    return ", ".join(map(str, numbers[:-1])) + (" and " if len(numbers) > 1 else "") + str(numbers[-1])
