"""What a report says of looks at a comparison: the rule, what each look decided, the runs that were spared."""

from collections.abc import Iterator, Mapping
from functools import partial

from orchestrator.report.charts.look_charts import look_paths
from orchestrator.report.pages.document import Block, Cell, Heading, Paragraph, Picture, Table, cells
from orchestrator.report.pages.numbers import NOTHING, count, listed, probability, share
from orchestrator.report.sections.comparison_results import StageResults
from orchestrator.report.sections.look_results import LookResults
from orchestrator.report.statistics.expected_runs import expected_runs
from orchestrator.report.statistics.power import detectable_effect
from orchestrator.store.looks import Decision, Looks

MOST_ROWS = 120
"""Of the table; looks-<stage>.json holds all."""
_DECISIONS: Mapping[Decision, str] = {
    "better": "better: stops",
    "worse": "worse: stops",
    "futile": "stops for futility",
    "on": "goes on",
    "not shown": "not shown",
}
_SPENDING = {
    "pocock": "Pocock-like spending, nearly even over the looks",
    "obrien_fleming": "O'Brien-Fleming-like spending, nearly nothing at the first looks",
}


def look_blocks(stage: StageResults) -> Iterator[Block]:
    """The looks that were taken; nothing where every arm runs on every seed."""
    looks = stage.looks
    if looks is None:
        return
    yield Heading(f"Looks at the {stage.noun}", level=3)
    yield Paragraph(methods(stage, looks.rule))
    yield Paragraph(_runs(stage, looks))
    if looks.taken:
        yield _table(stage, looks)
        caption = (
            f"{stage.title}: p of each arm at each look (line), and the largest p that was shown there (black bars: "
            "an arm at its bar or below stops)."
        )
        yield Picture(f"{stage.plan.stage}-looks", caption, partial(look_paths, stage, looks))


def methods(stage: StageResults, rule: Looks) -> str:
    """How the looks were taken, as a paper would say it."""
    metric = stage.results.objective_metrics[0]
    futility = "No arm stopped for futility."
    if rule.futility is not None:
        futility = (
            "An arm stopped for futility when its chance to be shown at the last look, if the rest was as so far, fell "
            f"below {rule.futility:g}; this enters no boundary."
        )
    return (
        f"Seeds were run in steps, and the arms looked at after {listed(rule.seeds)} seeds, by {metric} alone. At each "
        "look the boundary was set on the sign patterns of the paired differences that had crossed none before, by "
        f"alpha spending ({_SPENDING[rule.spending]}); over the arms Holm's method was applied to sequential p. An arm "
        "that was shown to differ stopped. The chance that any arm without an effect is shown is at most "
        f"{rule.alpha:g} over all looks. {futility}"
    )


def _runs(stage: StageResults, looks: LookResults) -> str:
    """What was run, and what was to be expected."""
    most = len(stage.arms) * len(stage.blocks)
    planned = sum(len(stage.planned_blocks(arm.name)) for arm in stage.arms)
    text = f"{count(len(looks.taken), 'look')} of {len(looks.rule.seeds)} taken. "
    spared = f"The arms take {planned} of {most} runs: {most - planned} are spared"
    text += f"{spared}{'' if looks.over else ' so far'}. " if looks.taken else ""
    if not stage.others:
        return text
    without = expected_runs(looks.rule, len(stage.others), 0.0).runs
    text += f"To be expected before any result were {without:.0f} runs if no arm differs"
    effect = detectable_effect(looks.rule.seeds[-1], len(stage.others))
    if effect is None:
        return f"{text} (simulated)."
    size = round(effect, 1)
    runs = expected_runs(looks.rule, len(stage.others), size).runs
    return f"{text}, {runs:.0f} if each differs by {size:g} standard deviations of the differences (simulated)."


def _table(stage: StageResults, looks: LookResults) -> Table:
    rows = [
        (
            *cells((f"{look.number} ({look.seeds})", arm, str(one.pairs), probability(one.p))),
            *cells(
                (
                    _boundary(one.boundary),
                    probability(one.adjusted_p),
                    NOTHING if one.chance is None else share(one.chance),
                )
            ),
            Cell(_DECISIONS[one.decision], "strong" if one.decision in ("better", "worse") else "plain"),
        )
        for look in looks.taken
        for arm, one in look.arms.items()
    ]
    beyond = f" {len(rows) - MOST_ROWS} further rows are left out." if len(rows) > MOST_ROWS else ""
    return Table(
        f"{stage.plan.stage}-looks",
        f"{stage.title}: the looks",
        ("look (seeds)", "arm", "n", "p", "boundary", "adjusted p", "chance", "decision"),
        tuple(rows[:MOST_ROWS]),
        words=2,
        note="n: pairs by then; p: sign-flip test of them, as if nobody had looked before; boundary: the largest p "
        "that is shown at this look; adjusted p: over looks and arms; chance: to be shown at the last look, if the "
        f"rest is as so far.{beyond}",
    )


def _boundary(p: float | None) -> str:
    return "none" if p is None else probability(p)
