"""What a trial tries, in a few words."""

import pytest

from orchestrator.store.short_picks import short_picks


@pytest.mark.parametrize(
    ("picks", "said"),
    [
        (None, ""),
        ({}, ""),
        (
            {"suppression.p_max": 0.12345, "suppression.layer": "encoder.2", "suppression.sampling": "frequency"},
            "frequency, encoder.2, p_max 0.123",
        ),
        ({"train.lr": 0.00031623, "train.batch_size": 8}, "batch_size 8, lr 0.000316"),
        ({"suppression.gate_norm": "mean", "suppression.loss_ramp": "linear"}, "gate_norm mean, loss_ramp linear"),
        ({"suppression.layer": '["encoder.4","decoder"]'}, "encoder.4+decoder"),
        ({"suppression.sampling": '{"name":"inverse_frequency","tau":0.5}'}, "inverse_frequency(tau 0.5)"),
        (
            {"suppression.sampling": "inverse_frequency", "suppression.sampling.inverse_frequency.tau": 0.5},
            "inverse_frequency, tau 0.5",
        ),
        ({"train.optimizer.sgd.lr": 0.1, "head.lr": 0.2}, "head.lr 0.2, sgd.lr 0.1"),
        ({"suppression.layers.0": 0.25, "suppression.layers.1": 0.5}, "layers.0 0.25, layers.1 0.5"),
        ({"suppression": None, "model.pretrained": True}, "suppression none, pretrained yes"),
        ({"suppression": "null", "train.lr": "0.0123456"}, "suppression null, lr 0.0123"),
        ({"suppression.mechanism": "my.module:Blur"}, "Blur"),
        ({"model.arch": "mine", "model.encoder": "mine"}, "arch mine, encoder mine"),
        ({"data.root": "${ROOT}"}, "root ${ROOT}"),
        ({"suppression.layer": "{broken"}, "{broken"),
    ],
)
def test_short_picks(picks: dict[str, object] | None, said: str) -> None:
    assert short_picks(picks) == said  # type: ignore[arg-type]
