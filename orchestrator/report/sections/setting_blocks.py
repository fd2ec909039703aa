"""What the scores of a search vary with: importance, parallel coordinates, slices, each with what it means."""

from collections.abc import Iterator, Sequence
from functools import partial

from orchestrator.report.charts.setting_charts import importance_bars, parallel_coordinates, slices
from orchestrator.report.pages.document import Block, Bullets, Heading, Paragraph, Picture, slug
from orchestrator.report.pages.numbers import count
from orchestrator.report.sections.importance import MEANING, Importance, importances
from orchestrator.report.sections.searched_settings import Knobs, short_names, varied
from orchestrator.report.source import Results, Run
from trainable.evaluate.metrics.glossary import in_words

FEWEST_FOR_LINES = 3
"""Trials from which parallel coordinates and slices show anything."""
MOST_SLICES = 12


def varies_with_blocks(results: Results, knobs: Knobs, complete: Sequence[Run], metric: str) -> Iterator[Block]:
    """Everything about one metric and the settings."""
    yield Heading(f"What {metric} varies with", level=3)
    names = varied(knobs, complete)
    if len(complete) < FEWEST_FOR_LINES or not names:
        why = f"{count(len(complete), 'complete trial')}, {count(len(names), 'setting')} with more than one value"
        yield Paragraph(f"Importance, parallel coordinates and slices are left out: {why}.")
        return
    if words := in_words(metric):
        yield Paragraph(f"{metric} is the {words}.")
    methods = importances(results, knobs, complete, metric)
    yield from _importance(knobs, names, methods, metric)
    ranked = sorted(names, key=lambda name: -max(one.shares.get(name, 0.0) for one in methods))
    always = [name for name in ranked if name not in knobs.conditional]
    if len(always) > 1:
        caption = f"Search: settings and {metric} of every complete trial, a line each; only settings that all have."
        figure = partial(parallel_coordinates, results, knobs, complete, always, metric)
        yield Picture(f"search-parallel-{slug(metric)}", caption, figure)
    yield from _slices(results, knobs, complete, always, metric, "slices", "each setting")
    inner = [name for name in names if name in knobs.conditional]
    yield from _slices(results, knobs, complete, inner, metric, "options", "each setting that only some options have")


def _slices(
    results: Results, knobs: Knobs, complete: Sequence[Run], names: Sequence[str], metric: str, kind: str, what: str
) -> Iterator[Block]:
    if not names:
        return
    caption = (
        f"Search: {metric} against {what}; the other settings vary along. A dot is a trial, a black bar the median of "
        "an option, a horizontal line the single run of a reference."
    )
    if len(names) > MOST_SLICES:
        first = "most important" if kind == "slices" else "first"
        caption += f" The {MOST_SLICES} {first} of {len(names)} settings."
    figure = partial(slices, results, knobs, complete, names[:MOST_SLICES], metric)
    yield Picture(f"search-{kind}-{slug(metric)}", caption, figure)


def _importance(knobs: Knobs, names: Sequence[str], methods: Sequence[Importance], metric: str) -> Iterator[Block]:
    for reason in dict.fromkeys(one.why_not for one in methods if one.why_not):
        without = " and ".join(one.method for one in methods if one.why_not == reason)
        yield Paragraph(f"{without}: left out, {reason}.")
    rated = [one for one in methods if one.shares]
    if not rated:
        return
    conditional = [name for name in names if name in knobs.conditional]
    short = short_names(names)
    yield Bullets((*(MEANING[one.method] for one in rated), *_agreement(rated, short)))
    caption = f"Search: importance for {metric}. Descriptive: which settings the scores of these trials vary with."
    if conditional:
        caption += f" Not rated, as not all trials have them: {', '.join(short[name] for name in conditional)}."
    yield Picture(f"search-importance-{slug(metric)}", caption, partial(importance_bars, rated))


def _agreement(rated: Sequence[Importance], short: dict[str, str]) -> Iterator[str]:
    """Whether two methods put the same setting first: two answers without a word confuse."""
    if len(rated) < 2:
        return
    first = [max(sorted(one.shares), key=lambda name: one.shares[name]) for one in rated]
    if len(set(first)) == 1:
        yield f"Both put {short[first[0]]} first."
        return
    firsts = ", ".join(f"{one.method} puts {short[name]} first" for one, name in zip(rated, first, strict=True))
    yield (
        f"The two disagree: {firsts}. They ask different questions, and so few trials settle neither: a hint at what "
        "to ablate, no more."
    )
