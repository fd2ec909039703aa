"""The contract of sampling strategies.

Shapes: B batch, C classes, H W labels, h w logits.
"""

import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX
from trainable.parts.sampling import Sampling
from trainable.suppression.drop import Drop
from trainable.suppression.own_sampling import OwnStrategy
from trainable.testing.contract import CLASSES, FACTS, Contract, assert_equal, run

BATCH, SIDE = 3, 16


class SamplingContract(Contract):
    """Rules of `trainable.parts.Sampling`."""

    def trial(self) -> Mapping[str, object] | None:
        """With a drop for each image."""
        return {"suppression": {"sampling": self.section}}

    def test_weights_are_those_of_the_classes(self) -> None:
        """For usual labels, for a batch of one class, and for one without any labelled pixel."""
        for labels_BHW in (_labels(0), torch.zeros_like(_labels(0)), torch.full_like(_labels(0), IGNORE_INDEX)):
            weights = self._begun().weights(labels_BHW, BATCH)
            assert weights.shape[-1] == CLASSES

    def test_it_repeats_whatever_was_drawn_before(self) -> None:
        """Equal batches give equal bits, and torch's own stream of random numbers is left alone."""
        results = []
        for seed in (0, 1):
            strategy = self._begun()
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            results.append([_step(strategy, step) for step in range(3)])
            assert torch.equal(torch.get_rng_state(), before), "it draws from torch's global generator"
        assert_equal(results[0], results[1], "weights()")

    def test_arguments_stay_as_they_are(self) -> None:
        """Labels and logits belong to the caller."""
        strategy, labels_BHW, logits_BChw = self._begun(), _labels(0), _logits(0)
        copies = labels_BHW.clone(), logits_BChw.clone()
        strategy.weights(labels_BHW, BATCH)
        strategy.observe(logits_BChw, labels_BHW, Drop.of(1, CLASSES))
        assert_equal((labels_BHW, logits_BChw), copies, "arguments")

    def test_state_survives_a_checkpoint_bit_for_bit(self) -> None:
        """After some steps another object goes on from the state as this one would."""
        strategy, other = self._begun(), self._begun()
        for step in range(5):
            _step(strategy, step)
        saved = io.BytesIO()
        torch.save(strategy.state_dict(), saved)
        saved.seek(0)
        state = torch.load(saved, weights_only=True)
        if state:
            other.load_state_dict(state)
        going_on = [[_step(each, step) for step in range(5, 9)] for each in (strategy, other)]
        assert_equal(going_on[0], going_on[1], "weights() after a checkpoint")

    def _begun(self) -> OwnStrategy:
        part = self.make()
        assert isinstance(part, Sampling), f"{self.name} is no trainable.parts.Sampling"
        return OwnStrategy(self.name, part, FACTS)


def check_sampling(part: type, **settings: Any) -> None:
    """Run the contract of sampling strategies; raises as `contract.run`."""
    run(SamplingContract, part, settings)


def _step(strategy: OwnStrategy, step: int) -> Tensor:
    """A training step: weights for the draw, then what is learned."""
    weights = strategy.weights(_labels(step), BATCH)
    strategy.observe(_logits(step), _labels(step), Drop.of(step % CLASSES, CLASSES) if step % 2 else None)
    return weights.clone()


def _labels(step: int) -> Tensor:
    labels_BHW = torch.randint(CLASSES, (BATCH, SIDE, SIDE), generator=torch.Generator().manual_seed(step))
    labels_BHW[:, :2] = IGNORE_INDEX
    return labels_BHW


def _logits(step: int) -> Tensor:
    return torch.randn(BATCH, CLASSES, SIDE // 4, SIDE // 4, generator=torch.Generator().manual_seed(step))
