"""A segmentation network as encoder, decoder, classifier and upsampling, with suppression blocks at some layers.

Shapes: B batch, C classes, K channels of a map, H W image, h w a map.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from trainable.model.stages import Edit, Tap, Tape, record, rerun, run
from trainable.ranks.group import summed, world
from trainable.suppression.block import SuppressionBlock, gradient_importance
from trainable.suppression.config import Layer
from trainable.suppression.drop import Drop
from trainable.train.compute import full_precision

_BatchNorm = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class PlainPass:
    """What the plain path computed, as far as the suppressed path builds on it."""

    images_B3HW: Tensor
    maps: Mapping[Layer, Tensor]
    """Map A [B,K,h,w] of each suppressed layer."""
    tape: Tape | None
    """Of the encoder, where one of its stages is suppressed."""
    logits_BChw: Tensor
    """h(A) at the decoder map's stride."""


class Segmenter(nn.Module):
    """Logits h(A) of the plain path and h(A_drop) of the suppressed one (METHOD steps 2 to 4)."""

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, classifier: nn.Conv2d, upsample: nn.Module,
        blocks: Mapping[Layer, SuppressionBlock], taps: Mapping[Layer, Tap],
    ) -> None:  # fmt: skip
        """Take the parts of an smp model; ``classifier`` is the head's convolution [C,K,k,k].

        ``blocks`` are the layers that have one, in the order of the network, empty for the plain model; ``taps`` says
        where the encoder makes the maps of those that are its stages, and of stages that are edited without a block.
        """
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.classifier, self.upsample = classifier, upsample
        self.blocks = nn.ModuleDict({layer.replace(".", "_"): block for layer, block in blocks.items()})
        self.layers = tuple(blocks)
        self.taps = dict(taps)

    def block(self, layer: Layer) -> SuppressionBlock:
        """The block of a suppressed layer."""
        block = self.blocks[layer.replace(".", "_")]
        assert isinstance(block, SuppressionBlock)
        return block

    def without_blocks(self) -> "Segmenter":
        """The plain model, of the same weights and statistics: whatever trains one of the two trains both."""
        return Segmenter(self.encoder, self.decoder, self.classifier, self.upsample, {}, {})

    def compile_parts(self) -> None:
        """Compile what runs unchanged in every pass: with an encoder stage suppressed, not the encoder."""
        if not self.taps:
            self.encoder.compile()
        self.decoder.compile()
        for layer in self.layers:
            self.block(layer).mix.compile()

    def classify(self, maps_BKhw: Tensor) -> Tensor:
        """Logits h(A) [B,C,h,w] at the map's stride, float32 under autocast: bfloat16 would tie classes."""
        return full_precision(self.classifier(maps_BKhw))

    def plain(self, images_B3HW: Tensor) -> PlainPass:
        """The path without suppression. What runs again in the suppressed path keeps its running statistics here."""
        if not any(layer in self.taps for layer in self.layers):
            maps_BKhw = self.decoder(self.encoder(images_B3HW))
            maps = dict.fromkeys(self.layers, maps_BKhw)
            return PlainPass(images_B3HW, maps, None, self.classify(maps_BKhw))
        with self._statistics_kept():
            first, *later = (self.taps[layer] for layer in self.layers if layer in self.taps)
            features, tape = record(self.encoder, first, images_B3HW, later)
            maps = {layer: tape.map(tap) for layer, tap in self.taps.items()}
            decoded_BKhw = self.decoder(list(features))
        if "decoder" in self.layers:
            maps["decoder"] = decoded_BKhw
        return PlainPass(images_B3HW, maps, tape, self.classify(decoded_BKhw))

    def edited(self, images_B3HW: Tensor, edits: Mapping[Layer, Edit]) -> Tensor:
        """Logits h(A) [B,C,h,w] of the network without blocks in which the map of each layer is edited."""
        at_taps = {self.taps[layer]: edit for layer, edit in edits.items() if layer in self.taps}
        features = run(self.encoder, images_B3HW, at_taps) if at_taps else self.encoder(images_B3HW)
        maps_BKhw = self.decoder(list(features))
        return self.classify(edits["decoder"](maps_BKhw) if "decoder" in edits else maps_BKhw)

    def suppressed(self, plain: PlainPass, drop: Drop | None, importance: Mapping[Layer, Tensor]) -> Tensor:
        """Logits h(A_drop) [B,C,h,w]; None keeps every class. ``importance`` is S [C,K] of each suppressed layer."""
        first = self.layers[0]
        changed_BKhw = self.block(first)(plain.maps[first], importance[first], drop)
        if first == "decoder":
            return self.classify(changed_BKhw)
        assert plain.tape is not None
        later = self._edits(self.layers[1:], drop, importance)
        features = rerun(self.encoder, self.taps[first], plain.tape, plain.images_B3HW, changed_BKhw, later)
        return self._decode(features, drop, importance)

    def importance(self, plain: PlainPass | None = None) -> dict[Layer, Tensor]:
        """S [C,K] of each suppressed layer: of this step where ``plain`` is given in training, else of evaluation.

        Call it once per training step: with gradient importance it moves the running mean.
        """
        importance = {layer: self.block(layer).importance(self.classifier) for layer in self.layers}
        if plain is not None and self.training:
            due = [layer for layer in self.layers if self.block(layer).next_step_observes()]
            importance |= self._gradients(plain, due)
        return importance

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Prediction: logits [B,C,H,W] of h(A), or of h(A_drop) with m = 1 where there is a block (METHOD step 6)."""
        importance = self.importance()
        features = run(self.encoder, images_B3HW, self._edits(self.layers, None, importance))
        logits_BCHW: Tensor = self.upsample(self._decode(features, None, importance))
        return logits_BCHW

    def prediction_from_maps(self, images_B3HW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What a prediction passes: the encoder's deepest map [B,K,h,w], the decoder's, the logits [B,C,h,w].

        The decoder's map is that before its block, where it has one. Gradients lead back to the deepest map and no
        further.
        """
        importance = self.importance()
        with torch.no_grad():
            features = list(run(self.encoder, images_B3HW, self._edits(self.layers, None, importance)))
        deepest_BKhw = features[-1].detach().requires_grad_()
        features[-1] = deepest_BKhw.clone()  # a decoder may work in place
        decoded_BKhw: Tensor = self.decoder(features)
        return deepest_BKhw, decoded_BKhw, self._classified(decoded_BKhw, None, importance)

    def _edits(
        self, layers: tuple[Layer, ...], drop: Drop | None, importance: Mapping[Layer, Tensor]
    ) -> dict[Tap, partial[Tensor]]:
        """What the blocks of encoder stages do to their maps."""
        return {
            self.taps[layer]: partial(self.block(layer), importance_CK=importance[layer], drop=drop)
            for layer in layers
            if layer in self.taps
        }

    def _decode(self, features: list[Tensor], drop: Drop | None, importance: Mapping[Layer, Tensor]) -> Tensor:
        return self._classified(self.decoder(list(features)), drop, importance)

    def _classified(self, maps_BKhw: Tensor, drop: Drop | None, importance: Mapping[Layer, Tensor]) -> Tensor:
        if "decoder" in self.layers:
            maps_BKhw = self.block("decoder")(maps_BKhw, importance["decoder"], drop)
        return self.classify(maps_BKhw)

    def _gradients(self, plain: PlainPass, layers: Collection[Layer]) -> dict[Layer, Tensor]:
        """S of this step by Grad-CAM; it enters the running means."""
        observed: dict[Layer, Tensor] = {}
        if "decoder" in layers:
            # the head is linear: the gradient is the same at every image, and one image shows it
            one_1Khw = plain.maps["decoder"][:1].detach().requires_grad_()
            (observed["decoder"],) = gradient_importance(self.classify(one_1Khw), [one_1Khw])
        stages = [layer for layer in layers if layer in self.taps]
        if stages:
            logits_BChw, maps = self._as_evaluated(plain)
            observed |= dict(zip(stages, gradient_importance(logits_BChw, [maps[s] for s in stages]), strict=True))
        observed = {layer: summed(of_rank_CK) / world() for layer, of_rank_CK in observed.items()}
        for layer, importance_CK in observed.items():
            self.block(layer).observe(importance_CK)
        return observed

    def _as_evaluated(self, plain: PlainPass) -> tuple[Tensor, dict[Layer, Tensor]]:
        """Logits [B,C,h,w] from the first suppressed map on, with running statistics, and the map at each stage.

        A step's own statistics would follow any shift of a channel: where batch norm comes next, as behind the branches
        of hrnet, the mean gradient is exactly zero, and its rounding errors would be the gate.
        """
        assert plain.tape is not None
        first = self.layers[0]
        maps = {first: plain.maps[first].detach().requires_grad_()}

        def keep(maps_BKhw: Tensor, layer: Layer) -> Tensor:
            maps[layer] = maps_BKhw
            return maps_BKhw

        later = {tap: partial(keep, layer=layer) for layer, tap in self.taps.items() if layer != first}
        with _evaluating(self.encoder, self.decoder):
            features = rerun(self.encoder, self.taps[first], plain.tape, plain.images_B3HW, maps[first], later)
            return self.classify(self.decoder(list(features))), maps

    @contextmanager
    def _statistics_kept(self) -> Iterator[None]:
        """Leave running statistics alone where a part of the network runs twice.

        They must be those of the suppressed path, which predicts; a mixture would fit neither path.
        """
        after = self.taps[self.layers[0]].after
        twice = [module for name, module in self.encoder.named_modules() if name in after]
        norms = [m for m in (*twice, *self.decoder.modules()) if isinstance(m, _BatchNorm) and m.momentum is not None]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 0.0
        try:
            yield
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum


@contextmanager
def _evaluating(*parts: nn.Module) -> Iterator[None]:
    """Let parts of a network compute as in an evaluation."""
    training = [module for part in parts for module in part.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
