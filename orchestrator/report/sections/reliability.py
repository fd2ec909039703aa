"""How far the networks know what they know: reliability diagrams beside the calibration error."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from orchestrator.report.charts.reliability_charts import reliability_diagrams
from orchestrator.report.pages.document import Block, Heading, Paragraph, Picture
from orchestrator.report.source import Floats, Results, Run
from trainable.evaluate.metrics.names import ECE

MOST_PANELS = 8


def reliability_blocks(results: Results, name: str, title: str, groups: Mapping[str, Sequence[Run]]) -> Iterator[Block]:
    """A panel per group of complete runs, pixels of all of them together; a sentence where nothing was kept."""
    summed = {group: bins for group, runs in groups.items() if (bins := _summed(results, runs)) is not None}
    measured = any(results.last(run, ECE) is not None for runs in groups.values() for run in runs)
    if not summed and not measured:
        return
    yield Heading(f"Calibration in the {title.lower()}", level=3)
    if not summed:
        yield Paragraph(f"{ECE} was measured, but the bins of a reliability diagram were not kept by this version.")
        return
    caption = (
        f"{title}: how often predictions of the evaluation split are right (bars), by their confidence; on the dashed "
        "line a network is as often right as it says. Below it it is too sure. Orange: share of the pixels in each bin."
    )
    if len(summed) > MOST_PANELS:
        caption += f" The first {MOST_PANELS} of {len(summed)}."
    first = dict(list(summed.items())[:MOST_PANELS])
    yield Picture(f"{name}-reliability", caption, partial(reliability_diagrams, first))


def _summed(results: Results, runs: Sequence[Run]) -> Floats | None:
    """Bins [M,3] of several runs together; None where none has kept any, or not as many as the others."""
    kept = [np.array(bins.bins, dtype=np.float64) for run in runs if (bins := results.calibration(run)) is not None]
    if not kept or len({bins.shape for bins in kept}) > 1:
        return None
    total: Floats = np.sum(kept, axis=0)
    return total
