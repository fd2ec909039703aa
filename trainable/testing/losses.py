"""The contract of losses.

Shapes: B batch, C classes, H W labels.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainable.data.classes import IGNORE_INDEX
from trainable.loss.own_loss import path_loss_of
from trainable.parts.loss import Loss, PixelLoss
from trainable.testing.batches import tiny_labels, tiny_logits
from trainable.testing.contract import CLASSES, FACTS, Contract, assert_equal, run

WEIGHTS = (0.5, 1.0, 2.0, 4.0)


class LossContract(Contract):
    """Rules of `trainable.parts.Loss` and `trainable.parts.PixelLoss`."""

    def trial(self) -> Mapping[str, object] | None:
        """In both paths, with class weights."""
        return {"train": {"loss": self.section, "class_weights": "log_frequency"}}

    def test_it_is_a_finite_number_that_trains(self) -> None:
        """With and without class weights; its gradient by the logits is finite and not zero."""
        for weights_C in (None, torch.tensor(WEIGHTS)):
            loss, gradient = self._loss(tiny_logits(), tiny_labels(), weights_C)
            assert bool(torch.isfinite(loss)), f"the loss is {float(loss)}"
            assert bool(torch.isfinite(gradient).all()), "its gradient is not finite"
            assert bool((gradient != 0).any()), "its gradient is zero: nothing is trained"

    def test_without_labels_it_is_zero(self) -> None:
        """A batch may hold ignored pixels alone: a drop may ignore every class that it has."""
        loss, gradient = self._loss(tiny_logits(), torch.full_like(tiny_labels(), IGNORE_INDEX))
        assert float(loss) == 0, f"without labels the loss is {float(loss)}"
        assert not bool(gradient.any()), "without labels its gradient is not zero"

    def test_ignored_pixels_have_no_part_in_it(self) -> None:
        """Other logits there give the same loss, and get no gradient."""
        ignored_BHW = tiny_labels() == IGNORE_INDEX
        other_BCHW = torch.where(ignored_BHW[:, None], -3 * tiny_logits(), tiny_logits())
        (one, gradient), (other, _) = (
            self._loss(tiny_logits(), tiny_labels()),
            self._loss(other_BCHW, tiny_labels()),
        )
        assert torch.equal(one, other), "logits of ignored pixels change the loss"
        assert not bool(gradient.movedim(1, -1)[ignored_BHW].any()), "ignored pixels get a gradient"

    def test_right_is_better_than_wrong(self) -> None:
        """Logits that say the labels have a smaller loss than those that say another class."""
        labels_BHW = tiny_labels()
        said = torch.where(labels_BHW == IGNORE_INDEX, 0, labels_BHW)
        right, wrong = (
            4 * nn.functional.one_hot(c % CLASSES, CLASSES).movedim(-1, 1).float() for c in (said, said + 1)
        )
        assert self._loss(right, labels_BHW)[0] < self._loss(wrong, labels_BHW)[0], "wrong logits have no larger loss"

    def test_it_repeats_and_leaves_its_arguments(self) -> None:
        """Equal arguments give equal bits."""
        logits_BCHW, labels_BHW = tiny_logits(), tiny_labels()
        assert_equal(self._loss(logits_BCHW, labels_BHW), self._loss(logits_BCHW, labels_BHW), "the loss")
        assert_equal((logits_BCHW, labels_BHW), (tiny_logits(), tiny_labels()), "arguments")

    def test_a_pixel_does_not_depend_on_others(self) -> None:
        """Of a loss by pixels: images may come in chunks, and class weights are factors."""
        part = self.make()
        if isinstance(part, PixelLoss):
            part.begin(FACTS)
            weights_C = torch.tensor(WEIGHTS)
            whole = part.pixels(tiny_logits(), tiny_labels(), weights_C)
            images = zip(torch.split(tiny_logits(), 1), torch.split(tiny_labels(), 1), strict=True)
            chunks = [part.pixels(*image, weights_C) for image in images]
            torch.testing.assert_close(torch.cat(chunks), whole, msg="a pixel's loss depends on other images")
            doubled = part.pixels(tiny_logits(), tiny_labels(), 2 * weights_C)
            torch.testing.assert_close(doubled, 2 * whole, msg="class weights are no factors of a pixel's loss")

    def _loss(self, logits_BCHW: Tensor, labels_BHW: Tensor, weights_C: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The loss and its gradient by the logits."""
        part = self.make()
        assert isinstance(part, PixelLoss | Loss), f"{self.name} is no trainable.parts.Loss or PixelLoss"
        leaf = logits_BCHW.clone().requires_grad_()
        (loss,) = path_loss_of(self.name, part, FACTS)([leaf], [labels_BHW], nn.Identity(), weights_C)
        (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), gradient


def check_loss(part: type, **settings: Any) -> None:
    """Run the contract of losses; raises as `contract.run`."""
    run(LossContract, part, settings)
