"""``train.compile``: the same training as without, up to rounding."""

import shutil

import pytest

from trainable.evaluate.metrics.names import TRAIN_CE, TRAIN_LOSS, TRAIN_SUPPRESSION
from trainable.model.build import build_model
from trainable.model.config import ModelConfig
from trainable.suppression.config import SuppressionConfig
from trainable.train.engine import fit


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_trial_trains_alike(make_trial) -> None:
    suppression = {"gate_norm": "mean", "alpha": 1.0, "schedule": "constant", "loss_ramp": "constant"}
    # SGD: Adam turns rounding into steps of full size where gradients are nearly zero
    trials = [
        make_trial(train={"epochs": 1, "compile": on, "optimizer": "sgd", "lr": 0.01}, suppression=suppression)
        for on in (False, True)
    ]
    eager, compiled = (next(iter(fit(trial, device="cpu", threads=1))) for trial in trials)
    for name in (TRAIN_LOSS, TRAIN_CE, TRAIN_SUPPRESSION):
        assert compiled.metrics[name] == pytest.approx(eager.metrics[name], rel=1e-3)
    assert compiled.state()["model"].keys() == eager.state()["model"].keys()


@pytest.mark.parametrize(("layer", "encoder_compiled"), [("decoder", True), ("encoder.4", False)])
def test_an_encoder_that_is_rerun_is_not_compiled(layer, encoder_compiled: bool) -> None:
    config = ModelConfig(arch="linknet", encoder="tu-test_resnet", encoder_weights=None)
    model = build_model(config, 3, SuppressionConfig(layer=layer))
    model.compile_parts()
    assert (model.encoder._compiled_call_impl is not None) == encoder_compiled
    assert model.decoder._compiled_call_impl is not None
    assert model.block(layer).mix._compiled_call_impl is not None
