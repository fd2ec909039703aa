"""What all contracts share: how a part is made, and the trial that it has to go through."""

import io
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from trainable.config import TrialConfig, read_trial
from trainable.data.statistics import ClassStatistics
from trainable.parts.facts import ClassFacts
from trainable.parts.loading import construct
from trainable.train.engine import EpochResult, fit

TINY: Mapping[str, Mapping[str, object]] = {
    "data": {"name": "shapes", "size": [32, 32], "train_images": 6, "val_images": 2},
    "model": {"arch": "linknet", "encoder": "tu-test_resnet", "encoder_weights": None},
    "train": {"epochs": 2, "batch_size": 2, "lr": 1e-3},
    "suppression": {"p_max": 0.7, "schedule": "constant", "loss_ramp": "constant", "granularity": "image"},
}
"""A trial of two epochs of three steps, which takes a second."""
NAMES = ("road", "car", "pole", "sign")
FACTS = ClassFacts(NAMES, ClassStatistics.of([[900, 80, 15, 5], [950, 50, 0, 0], [990, 0, 10, 0]]), (2, 3))
"""Of four classes, two of them rare."""
CLASSES = len(NAMES)


class Contract:
    """A part and its settings; each method that begins with ``test`` is a rule."""

    part: ClassVar[Any]
    """The class."""
    settings: ClassVar[Mapping[str, Any]] = {}
    """Arguments of its constructor, as a study file would write them."""
    whole_trial: ClassVar[bool] = True
    """Whether it goes through a trial; its class must lie in a module then, not in a function."""

    @property
    def name(self) -> str:
        """The class as a study file names it."""
        return f"{self.part.__module__}:{self.part.__qualname__}"

    @property
    def section(self) -> dict[str, Any]:
        """The section of a study file."""
        return {"name": self.name, **self.settings}

    def make(self, *arguments: object) -> Any:
        """A new object of the class."""
        return construct(self.name, self.part, dict(json.loads(json.dumps(self.settings))), *arguments)

    def trial(self) -> Mapping[str, object] | None:
        """Sections of a trial with the part; None where the contract has none."""
        return None

    def test_a_trial_repeats_and_resumes_bit_for_bit(self) -> None:
        """Two epochs at once, and the second one after a stop, give the same numbers, weights and state."""
        sections = self.trial()
        if sections is not None and self.whole_trial:
            check_resumes(trial_of(sections))


def run(contract: type[Contract], part: type, settings: Mapping[str, Any], **more: object) -> None:
    """Run every rule of a contract.

    Raises:
        AssertionError, PartFailed: the first rule that does not hold.
    """
    filled = type(f"{contract.__name__}Of{part.__name__}", (contract,), {"part": part, "settings": settings, **more})()
    for name in (*vars(contract), *vars(Contract)):  # in their order
        if name.startswith("test"):
            getattr(filled, name)()


def trial_of(sections: Mapping[str, Any]) -> TrialConfig:
    """The tiny trial with keys of its sections replaced."""
    tree: dict[str, Any] = {key: dict(section) for key, section in TINY.items()}
    for key, section in sections.items():
        replaces = not isinstance(section, dict) or "name" in section or "arch" in section
        tree[key] = section if replaces else {**tree.get(key, {}), **section}
    return read_trial(tree)


def check_resumes(config: TrialConfig) -> None:
    """Train a trial whole, and again from its first checkpoint; raises AssertionError where they differ."""
    whole = fit(config, device="cpu", threads=1)
    saved = io.BytesIO()
    torch.save(next(whole).state(), saved)
    last = next(whole)
    saved.seek(0)
    torch.manual_seed(99)  # nothing may depend on what the process drew before
    (resumed,) = fit(config, device="cpu", threads=1, resume_from=torch.load(saved, weights_only=True))
    assert _measured(resumed) == _measured(last), "the resumed trial has other metrics"
    assert_equal(resumed.state(), last.state(), "state after the resumed trial")


def assert_equal(one: object, other: object, where: str) -> None:
    """Containers of tensors and numbers must be equal bit for bit."""
    assert type(one) is type(other), f"{where}: {type(one).__name__} and {type(other).__name__}"
    if isinstance(one, dict) and isinstance(other, dict):
        assert list(one) == list(other), f"{where}: keys {list(one)} and {list(other)}"
        for key in one:
            assert_equal(one[key], other[key], f"{where}[{key!r}]")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        assert len(one) == len(other), f"{where}: {len(one)} and {len(other)} items"
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{where}[{index}]")
    elif isinstance(one, Tensor) and isinstance(other, Tensor):
        assert one.dtype == other.dtype, f"{where}: {one.dtype} and {other.dtype}"
        same = one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())
        assert same, f"{where}: not the same bits"
    else:
        assert one == other, f"{where}: {one!r} and {other!r}"


def _measured(result: EpochResult) -> dict[str, float]:
    return {name: value for name, value in result.metrics.items() if not name.endswith("_seconds")}
