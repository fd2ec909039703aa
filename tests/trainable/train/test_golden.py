"""A refactoring must train the same: the losses of 20 CPU steps, and what is predicted.

Of the preset ``official``, and of its suppression from torch's initial weights, at which the gate is open from the
first step. After a change that is meant to alter them, write the files anew from the repository's root and say
why in the commit::

    OMP_NUM_THREADS=1 python tests/trainable/train/test_golden.py --write
"""

import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from torch import Tensor

from trainable.config import TrialConfig
from trainable.evaluate.metrics.names import KEPT_PROBABILITY
from trainable.suppression.loss import PathLosses
from trainable.train.engine import fit
from trainable.train.meter import Meter

GOLDEN = Path(__file__).parent / "golden"
SETTINGS: dict[str, dict[str, Any]] = {"official": {"preset": "official"}, "defaults": {"suppression": {}}}

# 5 epochs of 4 steps: u is 0, 0.2, ... 0.8. Written out in full, for no other test's wish may change it.
# Size and rate keep rounding small: other instruction sets of a CPU differ by 1e-4 here, but by 6e-3 with 32x32 pixels
# (batch statistics over 4 values in the deepest stage) and ten times the rate.
TRIAL: dict[str, Any] = {
    "data": {"name": "shapes", "size": [64, 64], "train_images": 16, "val_images": 1},
    "model": {"arch": "linknet", "encoder": "tu-test_resnet", "encoder_weights": None},
    "train": {"epochs": 5, "batch_size": 4, "lr": 4e-4, "optimizer": {"name": "sgd"}, "precision": "fp32"},
    "seed": 1,
}

Trajectory = dict[str, list[float | None]]


def trajectory(setting: str) -> Trajectory:
    """Loss and terms of each step, None where a step has no such term; and p(z) on pixels of z after each epoch."""
    steps: Trajectory = {"total": [], "plain": [], "suppressed": [], "probability": [], "predicted": []}
    add = Meter.add

    def note(meter: Meter, loss: Tensor, terms: PathLosses) -> None:
        found = {"total": loss, "plain": terms.plain, "suppressed": terms.suppressed, "probability": terms.probability}
        for name, term in found.items():
            steps[name].append(None if term is None else round(float(term.detach()), 7))
        add(meter, loss, terms)

    with mock.patch.object(Meter, "add", note):
        for result in fit(
            TrialConfig.model_validate_json(json.dumps({**SETTINGS[setting], **TRIAL})), device="cpu", threads=1
        ):
            steps["predicted"].append(round(result.metrics[KEPT_PROBABILITY], 7))  # sees the running statistics too
    return steps


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_trains_as_it_did(setting: str) -> None:
    golden, found = json.loads((GOLDEN / f"{setting}.json").read_text()), trajectory(setting)
    assert set(found) == set(golden)
    assert len(golden["total"]) == 20
    assert 0 < golden["probability"].count(None) < 20, "steps with a drop and steps without one"
    for name, expected in golden.items():
        for number, (ours, theirs) in enumerate(zip(found[name], expected, strict=True), start=1):
            # another CPU's arithmetic, amplified by the steps; a wrong factor or draw is far off
            wanted = None if theirs is None else pytest.approx(theirs, rel=2e-3)
            assert ours == wanted, f"{name} no. {number}"


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    GOLDEN.mkdir(exist_ok=True)
    for setting in SETTINGS:
        (GOLDEN / f"{setting}.json").write_text(json.dumps(trajectory(setting), indent=1) + "\n")
