"""Suppression's cost per training step by layer, mechanism and granularity, beside plain, literal and floor.

Each repeat takes every variant in turn, so that drifts of the card hit all alike; figures are medians, ratios medians
of the repeats' own ratios. "x plain" compares with the plain trial of the same model, which has no block.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from pydantic import ValidationError
from suppression import (
    Bench,
    Case,
    Losses,
    erasing,
    floor_encoder,
    literal_decoder,
    literal_encoder,
    plain,
)

from gpu_sections.trials import Row, device, step_times
from trainable.model.config import ModelConfig
from trainable.model.segmenter import Segmenter
from trainable.suppression.config import Layer
from trainable.suppression.drop import Drop
from trainable.suppression.loss import PathLosses
from trainable.suppression.mechanism import Applied
from trainable.suppression.mechanism_sections import Gate, Hard, Projection, RandomChannels
from trainable.train.compute import Compute
from trainable.train.step import Batch, two_path_losses

MECHANISMS: tuple[Applied, ...] = (
    Gate(name="gate"),
    Hard(name="hard"),
    Projection(name="projection"),
    RandomChannels(name="random_channels"),
)
HRNET = "tu-hrnet_w18_small_v2"


@dataclass(frozen=True)
class Variant:
    """A way to take a step of a model, and what was measured of it."""

    bench: Bench
    losses: Losses
    times: list[tuple[float, float, float]] = field(default_factory=list)

    def take(self, steps: int) -> None:
        """Measure some steps."""
        self.times.append(step_times(lambda: self.bench.advance(self.losses), steps))


def measure(tiny: bool) -> Iterator[Row]:
    """Yield a row per variant of each layer of each model."""
    size, batch = ((32, 64), 2) if tiny else ((512, 1024), 8)
    deeplab = ModelConfig(arch="deeplabv3plus", encoder="resnet18" if tiny else "resnet50")
    layers: tuple[Layer, ...] = ("decoder", "encoder.3", "encoder.1", "input")
    yield from _of_model(Case("deeplabv3plus", deeplab, 19, batch, size), layers, tiny)
    try:
        hrnet = ModelConfig.model_validate({"arch": "hrnet", "encoder": HRNET})
    except ValidationError as error:
        yield {"model": f"hrnet {HRNET}", "skipped": f"no such architecture here ({error.errors()[0]['type']})"}
        return
    yield from _of_model(Case(f"hrnet {HRNET}", hrnet, 19, batch, size), ("decoder", "branch.1"), tiny)


def _of_model(case: Case, layers: tuple[Layer, ...], tiny: bool) -> Iterator[Row]:
    compute = Compute(device(), "bf16" if device().type == "cuda" else "fp32")
    # a block at the decoder takes no part in the plain path: this is the plain trial
    reference = Bench(case, "decoder", compute)
    for layer in layers:
        bench = reference if layer == "decoder" else Bench(case, layer, compute)
        variants = {"plain": Variant(reference, plain), **_variants(bench, layer)}
        repeats, steps = (1, 1) if tiny else (5, 2)
        for _ in range(1 + repeats):  # the first one warms up
            for variant in variants.values():
                variant.take(steps)
        for name, variant in variants.items():
            yield {"model": case.name, "layer": layer, "variant": name, **_figures(variant, variants["plain"])}


def _variants(bench: Bench, layer: Layer) -> dict[str, Variant]:
    if layer == "input":
        return {"erase": Variant(bench, erasing(bench.compute))}
    decoder = layer == "decoder"
    named: dict[str, Losses] = {"literal": literal_decoder if decoder else literal_encoder}
    if not decoder:
        named["floor"] = floor_encoder
    for mechanism in MECHANISMS:
        named[mechanism.name] = _ours(mechanism)
        if mechanism.name in ("gate", "projection"):
            named[f"{mechanism.name}, per image"] = _ours(mechanism, per_image=True)
    return {name: Variant(bench, losses) for name, losses in named.items()}


def _ours(mechanism: Applied, per_image: bool = False) -> Losses:
    """The product's two paths; mechanisms have no parameters, so they share one model."""

    def losses(model: Segmenter, batch: Batch, drop: Drop) -> PathLosses:
        for layer in model.layers:
            model.block(layer).mechanism = mechanism
        if per_image:
            images, classes = len(batch.labels_BHW), drop.keep_GC.shape[1]
            rotated_BC = torch.eye(classes, device=drop.keep_GC.device)[:images]
            drop = Drop(1 - rotated_BC)
        return two_path_losses(model, batch, drop, None)[0]

    return losses


def _figures(variant: Variant, reference: Variant) -> Row:
    own, base = variant.times[1:], reference.times[1:]
    ratios = [mine[0] / plain[0] for mine, plain in zip(own, base, strict=True)]
    milliseconds, host, peak = (statistics.median(column) for column in zip(*own, strict=True))
    least = statistics.median(times[2] for times in base)
    return {
        "ms": milliseconds,
        "x plain": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "host ms": host,
        "peak MiB": round(peak),
        "memory x plain": peak / least if least else None,
    }
