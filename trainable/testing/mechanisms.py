"""The contract of mechanisms.

Shapes: C classes, K channels, G groups that share a draw.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainable.parts.mechanism import Mechanism
from trainable.suppression.drop import Drop
from trainable.suppression.own_mechanism import OwnMechanism
from trainable.testing.contract import CLASSES, Contract, assert_equal, run

CHANNELS = 8
SEED = 7


class MechanismContract(Contract):
    """Rules of `trainable.parts.Mechanism`."""

    def trial(self) -> Mapping[str, object] | None:
        """At the decoder."""
        return {"suppression": {"mechanism": self.section, "num_classes": 2}}

    def test_every_drop_gives_a_map_of_channels(self) -> None:
        """Of the right shape and type, finite; also for an importance of zeros, as before any training."""
        weight_OK = _random(3, CHANNELS)
        for importance_CK in (self._importance(), torch.zeros(CLASSES, CHANNELS)):
            for drop in (None, _drop([1]), _drop([0, 2]), _drop([0], [], [1, 3])):
                folded = self._begun().folded(weight_OK, importance_CK, drop)
                groups = () if drop is None or len(drop.keep_GC) == 1 else (len(drop.keep_GC),)
                assert tuple(folded.shape) == (*groups, 3, CHANNELS), f"shape {list(folded.shape)}"

    def test_it_repeats_whatever_was_drawn_before(self) -> None:
        """Equal arguments give equal bits, and torch's own stream of random numbers is left alone."""
        results = []
        for seed in (0, 1):
            torch.manual_seed(5)
            mechanism = self._begun()  # its weights come from the trial's seed
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            results.append(mechanism.part.channels(self._importance(), _drop([1]).keep_GC, SEED))
            assert torch.equal(torch.get_rng_state(), before), "channels() draws from torch's global generator"
        assert_equal(results[0], results[1], "channels()")

    def test_arguments_stay_as_they_are(self) -> None:
        """Importance and keep mask belong to the caller."""
        importance_CK, keep_GC = self._importance(), _drop([1]).keep_GC
        copies = importance_CK.clone(), keep_GC.clone()
        self._begun().part.channels(importance_CK, keep_GC, SEED)
        assert_equal((importance_CK, keep_GC), copies, "arguments")

    def test_a_group_does_not_depend_on_others(self) -> None:
        """Each group's rows are those that it has alone; one that drops nothing has those of m = 1."""
        mechanism, weight_OK, importance_CK = self._begun(), _random(3, CHANNELS), self._importance()
        groups: tuple[list[int], ...] = ([0], [], [1, 3])
        together = mechanism.folded(weight_OK, importance_CK, _drop(*groups))
        for rows, classes in zip(together, groups, strict=True):
            alone = mechanism.folded(weight_OK, importance_CK, _drop(classes) if classes else None)
            torch.testing.assert_close(rows, alone, msg=f"the group that drops {classes} depends on the others")

    def test_gradients_are_finite(self) -> None:
        """Where the result depends on the importance."""
        importance_CK = self._importance().requires_grad_()
        weight_OK = _random(3, CHANNELS).requires_grad_()
        total = self._begun().folded(weight_OK, importance_CK, _drop([1])).sum()
        for gradient in torch.autograd.grad(total, (importance_CK, weight_OK), allow_unused=True):
            assert gradient is None or bool(torch.isfinite(gradient).all()), "a gradient is not finite"

    def test_state_survives_a_checkpoint(self) -> None:
        """Another object with the same weights and buffers gives the same bits."""
        one, other = self._begun(), self._begun()
        for _ in range(3):
            one.part.channels(self._importance(), _drop([1]).keep_GC, SEED)
        if isinstance(one.part, nn.Module):
            other.load_state_dict(one.state_dict())
        results = [each.part.channels(self._importance(), _drop([2]).keep_GC, SEED) for each in (one, other)]
        assert_equal(results[0], results[1], "channels() after a checkpoint")

    def _begun(self) -> OwnMechanism:
        part = self.make()
        assert isinstance(part, Mechanism), f"{self.name} is no trainable.parts.Mechanism"
        return OwnMechanism(self.name, part, CHANNELS, CLASSES)

    def _importance(self) -> Tensor:
        return _random(CLASSES, CHANNELS)


def check_mechanism(part: type, **settings: Any) -> None:
    """Run the contract of mechanisms; raises as `contract.run`."""
    run(MechanismContract, part, settings)


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def _drop(*groups: list[int]) -> Drop:
    keep_GC = torch.ones(len(groups), CLASSES)
    for group, classes in enumerate(groups):
        keep_GC[group, classes] = 0
    return Drop(keep_GC, seed=SEED)
