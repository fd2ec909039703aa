"""What all settings of a section are."""

from unittest.mock import Mock

import pytest

from trainable.config import read_trial
from trainable.section import Section, all_settings


def test_the_sections_of_a_trial_are_dumped_with_it_but_those_that_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree = {"data": {"name": "shapes"}, "model": {"arch": "unet", "encoder": "resnet18"}}
    tree |= {"train": {"epochs": 1, "batch_size": 2}}
    suppression = {"layer": "decoder", "sampling": "uniform", "schedule": "linear", "p_max": 0.5}
    trial, kept = read_trial({**tree, "suppression": suppression}), Section.model_dump
    dump = Mock(side_effect=kept)
    monkeypatch.setattr(Section, "model_dump", lambda section, **options: dump(section, **options))
    settings = all_settings(trial)
    assert [call.args[0] for call in dump.call_args_list] == [trial, trial.train.loss]
    assert isinstance(settings, dict)
    train = settings["train"]
    assert isinstance(train, dict)
    assert train["loss"] == {"name": "ce"}
    assert "loss" not in trial.model_dump(mode="json")["train"]
    for name in ("data", "model", "evaluation", "suppression"):
        section = getattr(trial, name)
        assert settings[name] == all_settings(section)
        assert settings[name].items() >= kept(section, mode="json").items()
