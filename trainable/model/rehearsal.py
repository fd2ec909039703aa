"""Run a model without numbers: whether it takes images of a size, and how much arithmetic that is.

On torch's meta device a pass computes shapes alone: it takes a fraction of a second and no memory, whatever the size.
Shapes: B batch, H W image.
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from trainable.model.build import build_model
from trainable.model.config import ModelConfig
from trainable.model.encoders import ModelError
from trainable.model.segmenter import Segmenter
from trainable.parts.section import OwnPart

LARGEST_REAL = 2**21
"""Pixels of the largest pass with numbers, which decides where meta tensors cannot: a few seconds on a CPU."""


class Rehearsal:
    """A network without numbers.

    Raises:
        ModelError: the model cannot be built.
    """

    def __init__(self, model: ModelConfig) -> None:
        self._model = model.model_copy(update={"encoder_weights": None, "weights": None})
        try:
            with torch.device("meta"):
                self._network = build_model(self._model, 2, None)
        except Exception:  # some encoders need real numbers while they are built
            self._network = build_model(self._model, 2, None).to("meta")

    def operations(self, batch: int, height: int, width: int, *, training: bool) -> float:
        """Operations of a forward pass over ``batch`` images; 0 where meta tensors cannot tell.

        Raises:
            ModelError: the network does not take them; one line.
        """
        try:
            return _counted(self._network, torch.empty(batch, 3, height, width, device="meta"), training)
        except Exception:  # what meta tensors cannot do looks like what the network cannot
            pass
        if batch * height * width <= LARGEST_REAL:
            self._with_numbers(batch, height, width, training)
        return 0.0

    def _with_numbers(self, batch: int, height: int, width: int, training: bool) -> None:
        network = build_model(self._model, 2, None)
        try:
            _counted(network, torch.zeros(batch, 3, height, width), training)
        except Exception as error:  # networks refuse a size with any type
            many = f"{batch} image{'s' if batch > 1 else ''} of {height} x {width}"
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            doing = "be trained on" if training else "predict"
            own = isinstance(self._model.arch, OwnPart)
            pair = f"'{self._model.arch_name}'" + ("" if own else f" on encoder '{self._model.encoder}'")
            raise ModelError(f"model: {pair} cannot {doing} {many} at a time: {reason}") from error


def _counted(network: Segmenter, images_B3HW: torch.Tensor, training: bool) -> float:
    network.train(training)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images_B3HW)
    return float(counter.get_total_flops())
