"""How far classes are told apart: cosines between their weights, and where rare classes are seen, arm beside baseline.

The measures are those of Chu, Kim, Han, NeurIPS 2021, arXiv 2111.00531.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import suppress

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from orchestrator.report.charts.class_matrices import ClassMatrices
from orchestrator.report.pages.document import Block, Cell, Heading, Paragraph, Photograph, Picture, Table
from orchestrator.report.pages.numbers import count
from orchestrator.report.sections.comparison_results import ALPHA, StageResults, overview
from orchestrator.store.artifacts import WeightCosines
from trainable.evaluate.metrics.names import WEIGHT_COSINES

HEAD, GAP = 20, 10
"""Pixels above and between two pictures."""
QUALITY = 85
"""Of JPEG: colours keep their place, and a photograph takes a fifth of a PNG."""


def entanglement_blocks(stage: StageResults) -> Iterator[Block]:
    """Cosines and Grad-CAM maps of the arms; nothing where no run has kept any."""
    blocks = [*_cosine_table(stage), *_cosine_maps(stage), *_gradcam(stage)]
    if not blocks:
        return
    yield Heading(f"Entanglement of the classes in the {stage.noun}", level=3)
    if len(stage.pictured) < len(stage.others):
        yield Paragraph(f"Pictures show the first {len(stage.pictured)} of {len(stage.others)} arms.")
    yield from blocks


def _cosine_table(stage: StageResults) -> Iterator[Block]:
    metrics = [metric for metric in WEIGHT_COSINES if any(stage.values(metric).values())]
    if not metrics:
        return
    rows = [(Cell(arm.name), *(overview(stage, arm.name, metric) for metric in metrics)) for arm in stage.arms]
    note = (
        "Mean cosine between the classifier's weights of two classes: over all pairs, two rare classes, two that are "
        f"not rare, one of each. In brackets Δ to {stage.plan.baseline}; bold: adjusted p ≤ {ALPHA:g} (exploratory)."
    )
    caption = f"{stage.title}: cosines between class weights, last epoch"
    heads = ("arm", *(stage.results.arrow(metric) for metric in metrics))
    yield Table(f"{stage.plan.stage}-cosines", caption, heads, tuple(rows), note=note)


def _cosine_maps(stage: StageResults) -> Iterator[Block]:
    baseline = _kept_cosines(stage, stage.plan.baseline)
    for number, arm in enumerate(stage.pictured):
        kept = _kept_cosines(stage, arm)
        shared = [b for b in kept if b in baseline and kept[b].classes == baseline[b].classes]
        if not shared:
            continue
        first = baseline[shared[0]]
        means = [np.mean([one[b].matrix for b in shared], axis=0) for one in (baseline, kept)]
        maps = ClassMatrices("cosine", first.classes, first.rare, stage.plan.baseline, means[0], arm, means[1])
        caption = (
            f"{stage.title}: cosines between class weights of {stage.plan.baseline} and {arm} after the last epoch, "
            f"and their difference; mean over {count(len(shared), 'seed')}; * and bold: rare."
        )
        yield Picture(f"{stage.plan.stage}-cosines-{number + 1}", caption, maps.draw)


def _kept_cosines(stage: StageResults, arm: str) -> Mapping[int, WeightCosines]:
    """What the complete runs of an arm have kept, by block."""
    kept = {run.block: stage.results.weight_cosines(run) for run in stage.complete(arm)}
    return {block: cosines for block, cosines in kept.items() if block is not None and cosines is not None}


def _gradcam(stage: StageResults) -> Iterator[Block]:
    """Each arm beside the baseline, on the first seed that both have trained to the end."""
    for number, arm in enumerate(stage.pictured):
        pair = _first_pair(stage, arm)
        if pair is None:
            continue
        seed, pictures = pair
        heads = (f"{stage.plan.baseline}, seed {seed}", f"{arm}, seed {seed}")
        caption = (
            f"{stage.title}: Grad-CAM maps of rare classes after the last epoch, {stage.plan.baseline} on the left, "
            f"{arm} on the right, seed {seed}. One seed and few frames: an illustration, no evidence."
        )
        with suppress(OSError, SyntaxError):  # what Pillow says of a damaged picture, which is left out
            jpeg = side_by_side(heads, pictures)
            yield Photograph(f"{stage.plan.stage}-gradcam-{number + 1}", caption, jpeg)


def _first_pair(stage: StageResults, arm: str) -> tuple[int, tuple[bytes, bytes]] | None:
    """Seed and pictures (PNG) of baseline and arm; None where one has none."""
    for block in stage.blocks:
        runs = [stage.runs.get((name, block)) for name in (stage.plan.baseline, arm)]
        if all(run is not None and run.complete for run in runs):
            pictures = [stage.results.gradcam(run) for run in runs if run is not None]
            if pictures[0] is None or pictures[1] is None:
                return None
            return stage.plan.seeds[block], (pictures[0], pictures[1])
    return None


def side_by_side(heads: tuple[str, str], pictures: tuple[bytes, bytes]) -> bytes:
    """JPEG of two PNG files, each below its head."""
    opened = [Image.open(io.BytesIO(content)).convert("RGB") for content in pictures]
    left = opened[0].width + GAP
    size = (left + opened[1].width, HEAD + max(picture.height for picture in opened))
    whole = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(size=14)
    for at, head, picture in zip((0, left), heads, opened, strict=True):
        pen.text((at + GAP, 0), head, "black", font)
        whole.paste(picture, (at, HEAD))
    stream = io.BytesIO()
    whole.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()
