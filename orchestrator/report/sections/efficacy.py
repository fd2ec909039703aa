"""Whether suppression did what it should: purity of the channels beside random weights, and p(z) with z dropped."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from statistics import fmean

from orchestrator.report.charts.purity_charts import purity_curves
from orchestrator.report.pages.document import Block, Heading, Paragraph, Picture, Table, cells
from orchestrator.report.pages.numbers import NOTHING, listed, number, signed
from orchestrator.report.source import Results, Run
from trainable.evaluate.metrics.efficacy import ADVICE, BITES_BELOW, Efficacy, is_control
from trainable.evaluate.metrics.names import (
    CHANNEL_PURITY,
    DROPPED_PROBABILITY,
    KEPT_PROBABILITY,
    PURITY_ABOVE_CHANCE,
    TRAIN_DROPPED,
)


def efficacy_blocks(results: Results, name: str, title: str, groups: Mapping[str, Sequence[Run]]) -> Iterator[Block]:
    """Purity and efficacy of groups of complete runs; nothing where none suppresses. Purity is that of blocks."""
    with_block, suppressed = (
        {name: runs for name, runs in groups.items() if any(_mean_last(results, runs, m) is not None for m in metrics)}
        for metrics in ((CHANNEL_PURITY,), (CHANNEL_PURITY, KEPT_PROBABILITY))
    )
    if not suppressed:
        return
    yield Heading(f"Does the suppression bite in the {title.lower()}?", level=3)
    lame = [group for group, runs in suppressed.items() if _is_lame(results, runs)]
    if lame:
        yield Paragraph(f"It hardly does in {listed(lame)}: {ADVICE}.", warning=True)
    if with_block:
        yield _purity_picture(results, name, title, with_block)
    rows = [cells((group, *_figures(results, runs))) for group, runs in suppressed.items()]
    heads = ("run", "channel purity", "above chance", "p(z), z kept", "p(z), z dropped")
    note = (
        "Last epoch; p(z) on the pixels of z over the last epochs that dropped a class, a dash where none did. "
        f"Suppression bites where p(z) with z dropped is below {BITES_BELOW:g} of p(z) with z kept."
    )
    yield Table(f"{name}-efficacy", f"{title}: what suppression takes away", heads, tuple(rows), note=note)


def _purity_picture(results: Results, name: str, title: str, with_block: Mapping[str, Sequence[Run]]) -> Picture:
    caption = (
        f"{title}: purity of the channels at the suppressed layer by epoch, mean over runs; dashed: that of random "
        "weights of the same initial law. As long as the lines lie close, the gate is that of random weights."
    )
    return Picture(f"{name}-purity", caption, partial(purity_curves, results, with_block))


def _figures(results: Results, runs: Sequence[Run]) -> tuple[str, ...]:
    above = _mean_last(results, runs, PURITY_ABOVE_CHANCE)
    found = _efficacy(results, runs)
    probabilities = (NOTHING, NOTHING) if found is None else (number(found.kept), number(found.dropped))
    return (number(_mean_last(results, runs, CHANNEL_PURITY)), signed(above), *probabilities)


def _is_lame(results: Results, runs: Sequence[Run]) -> bool:
    """Whether drops hardly take anything away; of random channels they are not meant to."""
    found = _efficacy(results, runs)
    control = any(is_control(partial(results.setting, run)) for run in runs)
    return found is not None and not found.bites and not control


def _efficacy(results: Results, runs: Sequence[Run]) -> Efficacy | None:
    curves = [[results.curve(run, m) for m in (KEPT_PROBABILITY, DROPPED_PROBABILITY, TRAIN_DROPPED)] for run in runs]
    return Efficacy.mean(one for run in curves if (one := Efficacy.of(*(list(map(float, c)) for c in run))) is not None)


def _mean_last(results: Results, runs: Sequence[Run], metric: str) -> float | None:
    values = [value for run in runs if (value := results.last(run, metric)) is not None]
    return fmean(values) if values else None
