"""The toy network with suppression blocks, and the worst disagreement with the reference."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch
from reference import DECODED, WIDTHS, ToyDecoder, ToyEncoder
from torch import nn

from trainable.model.segmenter import Segmenter
from trainable.model.stages import Tap, find_tap
from trainable.suppression.block import SuppressionBlock
from trainable.suppression.config import Layer, SuppressionConfig

MakeModel = Callable[..., Segmenter]


@cache
def toy_tap(stage: int) -> Tap:
    return find_tap(ToyEncoder(), stage)  # names alone: it fits every toy encoder


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """Build the toy network in training mode, float32; no suppression: the plain model."""

    def make(suppression: SuppressionConfig | None, classes: int = 4, kernel: int = 3, seed: int = 0) -> Segmenter:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: tuple[Layer, ...] = suppression.layers if suppression else ()
            taps = {layer: toy_tap(int(layer[-1])) for layer in layers if layer not in ("input", "decoder")}
            blocks = {
                layer: SuppressionBlock(
                    DECODED if layer == "decoder" else WIDTHS[int(layer[-1])],
                    classes,
                    suppression.mechanism_at(layer),
                    suppression.gate_norm,
                    suppression.importance_at(layer),
                    suppression.gradient_every,
                    suppression.norm_momentum,
                )
                for layer in (suppression.blocks if suppression else ())
                if suppression
            }
            classifier = nn.Conv2d(DECODED, classes, kernel, padding=kernel // 2)
            model = Segmenter(
                ToyEncoder(), ToyDecoder(), classifier, nn.UpsamplingBilinear2d(scale_factor=2), blocks, taps
            )
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):  # their initial values would hide a mistake
                    nn.init.uniform_(module.weight, 0.5, 1.5)
                    nn.init.normal_(module.bias, std=0.5)
                elif isinstance(module, nn.Conv2d):
                    nn.init.normal_(module.bias, std=0.1)
            for block in model.blocks.values():
                nn.init.normal_(block.mix.bias, std=1e-3)
            return model

    return make


@pytest.fixture(scope="session")
def worst() -> Iterator[dict[tuple[str, str], list[float]]]:
    """Collects errors by precision and quantity; ``pytest -s`` shows their number and the largest."""
    errors: dict[tuple[str, str], list[float]] = defaultdict(list)
    yield errors
    for (precision, quantity), found in sorted(errors.items()):
        print(f"\n{precision} {quantity}: {len(found)} values, worst relative error {max(found):.2e}", end="")
