"""What a study's trials may be: every model, suppressed encoder stage and data set, worked out once."""

from collections.abc import Callable

import pytest

from orchestrator.launch.foreseen import foreseen
from orchestrator.launch.preflight import check_models
from orchestrator.studyfile import Study
from trainable.presets import PRESETS, REPLACE_SUPPRESSION

Make = Callable[..., Study]


def test_every_model_and_layer_of_search_and_ablation_is_there_once(study: Make) -> None:
    loaded = study(
        "model.encoder={choice: [resnet34, resnet18]}",
        "suppression.layer={choice: [decoder, [encoder.4, encoder.2], encoder.2]}",
        "ablation.design=one_at_a_time",
        "ablation.factors={model.encoder: [resnet50, resnet18], suppression.layer: [encoder.5, decoder]}",
    )
    ahead = foreseen(loaded)
    assert [model.encoder for model in ahead.models] == ["resnet34", "resnet18", "resnet50"]
    assert ahead.layers == ("encoder.2", "encoder.4", "encoder.5")
    assert len(ahead.data) == 1
    assert foreseen(loaded) is ahead


def test_layers_are_asked_of_the_models_that_have_them(study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainable.model import build

    asked = []
    monkeypatch.setattr(build, "check_model", lambda model, layers, _: asked.append((model.arch, list(layers))))
    hrnet = "{model: {arch: hrnet, encoder: tu-hrnet_w18_small, encoder_weights: null}, suppression.layer: branch.2}"
    fpn = "{model: {arch: fpn, encoder: mit_b0, encoder_weights: null}, suppression.layer: [decoder, encoder.4]}"
    check_models(study("ablation.design=arms", f"ablation.arms={{hrnet: {hrnet}, fpn: {fpn}}}"))
    assert asked == [("hrnet", ["branch.2"]), ("fpn", ["encoder.4"])]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_that_replaces_the_section_hides_its_layers(study: Make, preset: str) -> None:
    layers = foreseen(study(f"preset={preset}", "suppression={layer: encoder.4}", "search.trials=1")).layers
    assert layers == (() if preset in REPLACE_SUPPRESSION else ("encoder.4",))
