"""Class masks of images by a trained network: prepared, predicted and averaged as in the trial's own evaluation.

Shapes: B batch, C classes, H W the frames that the network sees, h w a picture in its frame, y x a picture itself.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from trainable.config import TrialConfig
from trainable.data.classes import ClassMap
from trainable.data.decode import Bytes
from trainable.data.loose_images import FittedPicture
from trainable.evaluate.evaluate import evaluation_batch_size
from trainable.evaluate.predict import Network, frame_logits
from trainable.train.compute import Compute, tf32_convolutions

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """What a network makes of a picture."""

    picture: FittedPicture
    mask: Bytes = field(repr=False)
    """Class of each pixel [y,x], its position in the classes of the data set."""
    probabilities: Probabilities | None = field(default=None, repr=False)
    """Of each class [C,y,x], where asked for."""


@dataclass(frozen=True)
class Predictor:
    """A trained network with everything that its predictions depend on."""

    network: Network = field(repr=False)
    """Logits [B,C,H,W] of prepared images [B,3,H,W]; on the device of ``compute``, in evaluation mode."""
    config: TrialConfig = field(repr=False)
    """The trial: size of the frames, evaluation, precision."""
    compute: Compute
    classes: ClassMap
    """Names and colours of the classes, index = value in a mask."""

    def predictions(
        self,
        pictures: Iterable[FittedPicture],
        *,
        probabilities: bool = False,
        resize: bool = True,
        batch_size: int | None = None,
    ) -> Iterator[Prediction]:
        """Yield the prediction of each picture, in their order; no more than a batch of them is in memory.

        Args:
            pictures: Images as ``trainable.data.loose_images`` prepares them.
            probabilities: Whether the probability of every class is wanted too.
            resize: Whether the mask has the picture's own size: logits are resized bilinearly, then compared. Else it
                has the size at which the network saw the picture, which is that of the trial's evaluation.
            batch_size: Pictures at a time; None takes as many as the trial's evaluation.
        """
        remaining, at_once = iter(pictures), batch_size or evaluation_batch_size(self.config)
        while batch := list(islice(remaining, at_once)):
            logits_BCHW = self._logits(np.stack([picture.image_3HW for picture in batch]))
            for picture, logits_CHW in zip(batch, logits_BCHW, strict=True):
                inner_Chw = logits_CHW[:, : picture.inner[0], : picture.inner[1]]
                size = picture.size if resize else picture.inner
                scores = _probabilities(inner_Chw, size) if probabilities else None
                yield Prediction(picture, _mask(inner_Chw, size), scores)

    @torch.inference_mode()
    def _logits(self, images_B3HW: Bytes) -> Tensor:
        device, precision = self.compute.device, tf32_convolutions(self.config.train.tf32)
        with precision, self.compute.autocast():
            prepared_B3HW = self.compute.network_input(torch.from_numpy(images_B3HW).to(device))
            return frame_logits(self.network, prepared_B3HW, self.config.evaluation)


@torch.inference_mode()
def _mask(logits_Chw: Tensor, size: tuple[int, int]) -> Bytes:
    """The largest class of each pixel [y,x]: class after class, as all of a large picture may not fit into memory."""
    if logits_Chw.shape[1:] == size:
        return _on_cpu(logits_Chw.argmax(dim=0))
    best_yx = _resized(logits_Chw[:1], size)[0]
    mask_yx = torch.zeros(size, dtype=torch.uint8, device=best_yx.device)
    for c in range(1, len(logits_Chw)):
        values_yx = _resized(logits_Chw[c : c + 1], size)[0]
        larger_yx = values_yx > best_yx
        mask_yx[larger_yx] = c
        best_yx = torch.where(larger_yx, values_yx, best_yx)
    return _on_cpu(mask_yx)


@torch.inference_mode()
def _probabilities(logits_Chw: Tensor, size: tuple[int, int]) -> Probabilities:
    resized_Cyx = _resized(logits_Chw, size) if logits_Chw.shape[1:] != size else logits_Chw.float()
    array: Probabilities = resized_Cyx.softmax(dim=0).cpu().numpy()
    return array


def _resized(values_Chw: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(values_Chw[None].float(), size, mode="bilinear", align_corners=False)[0]


def _on_cpu(mask_yx: Tensor) -> Bytes:
    array: Bytes = mask_yx.to("cpu", torch.uint8).numpy()
    return array
