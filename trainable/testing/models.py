"""The contract of networks.

Shapes: B batch, C classes, H W image.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainable.model.own_network import parts_of
from trainable.model.segmenter import Segmenter
from trainable.parts.model import Model
from trainable.testing.contract import CLASSES, Contract, assert_equal, run

SIZES = ((32, 32), (64, 96))


class ModelContract(Contract):
    """Rules of `trainable.parts.Model`."""

    def trial(self) -> Mapping[str, object] | None:
        """With the decoder's map suppressed."""
        return {"model": {"arch": self.section}}

    def test_it_predicts_images_of_any_size(self) -> None:
        """Sides that are multiples of 32, one image or several."""
        network = self._network().eval()
        with torch.inference_mode():
            for height, width in SIZES:
                for batch in (1, 3):
                    logits_BCHW = network(_images(batch, height, width))
                    assert tuple(logits_BCHW.shape) == (batch, CLASSES, height, width), list(logits_BCHW.shape)

    def test_an_image_does_not_depend_on_others(self) -> None:
        """In an evaluation."""
        network = self._network().eval()
        with torch.inference_mode():
            images_B3HW = _images(3, *SIZES[0])
            together, alone = network(images_B3HW), torch.cat([network(image) for image in torch.split(images_B3HW, 1)])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4, msg="a prediction depends on the batch")

    def test_the_seed_decides_the_weights(self) -> None:
        """Torch's global generator gives them, and nothing else."""
        states = []
        for seed in (4, 4, 5):
            torch.manual_seed(seed)
            states.append(self._network().state_dict())
        assert_equal(states[0], states[1], "initial weights")
        differ = any(not torch.equal(a, b) for a, b in zip(states[0].values(), states[2].values(), strict=True))
        assert differ, "another seed gives the same weights"

    def test_all_weights_are_trained(self) -> None:
        """Each parameter gets a finite gradient."""
        network = self._network().train()
        torch.autograd.backward(network(_images(2, *SIZES[1])).square().mean())
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, f"{name} gets no gradient"
            assert bool(torch.isfinite(parameter.grad).all()), f"the gradient of {name} is not finite"

    def _network(self) -> Segmenter:
        part = self.make(CLASSES)
        assert isinstance(part, Model), f"{self.name} is no trainable.parts.Model"
        return Segmenter(*parts_of(self.name, part, CLASSES), {}, {})


def check_model(part: type, **settings: Any) -> None:
    """Run the contract of networks; raises as `contract.run`."""
    run(ModelContract, part, settings)


def _images(batch: int, height: int, width: int) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(6))
