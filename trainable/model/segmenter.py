"""A segmentation network as encoder, decoder, classifier and upsampling, with an optional suppression block.

Shapes: B batch, C classes, K channels of the decoder's map, H W image, h w decoder's map.
"""

import torch
from torch import Tensor, nn

from trainable.suppression.block import SuppressionBlock


class Segmenter(nn.Module):
    """Feature map A = decoder(encoder(x)), logits = h(A), and with a block also h(A_drop) (METHOD steps 2 to 4)."""

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, classifier: nn.Conv2d, upsample: nn.Module,
        block: SuppressionBlock | None,
    ) -> None:  # fmt: skip
        """Take the parts of an smp model; ``classifier`` is the head's convolution [C,K,k,k]."""
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.classifier, self.upsample = classifier, upsample
        self.block = block

    def features(self, images_B3HW: Tensor) -> Tensor:
        """Map A [B,K,h,w], the input of the classifier."""
        maps_BKhw: Tensor = self.decoder(self.encoder(images_B3HW))
        return maps_BKhw

    def classify(self, maps_BKhw: Tensor) -> Tensor:
        """Logits h(A) [B,C,h,w] at the map's stride, float32 under autocast: bfloat16 would tie classes."""
        logits_BChw: Tensor = self.classifier(maps_BKhw)
        return logits_BChw.float() if logits_BChw.dtype == torch.bfloat16 else logits_BChw

    def suppressed(self, maps_BKhw: Tensor, keep_C: Tensor | None = None) -> Tensor:
        """Map A_drop [B,K,h,w] for the keep mask m [C]; None keeps every class."""
        assert self.block is not None, "a plain model suppresses nothing"
        suppressed_BKhw: Tensor = self.block(maps_BKhw, self.classifier.weight, keep_C)
        return suppressed_BKhw

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Prediction: logits [B,C,H,W] of h(A), or of h(A_drop) with m = 1 where there is a block (METHOD step 6)."""
        maps_BKhw = self.features(images_B3HW)
        if self.block is not None:
            maps_BKhw = self.suppressed(maps_BKhw)
        logits_BCHW: Tensor = self.upsample(self.classify(maps_BKhw))
        return logits_BCHW
