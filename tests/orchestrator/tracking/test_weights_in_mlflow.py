"""A trial is known in MLflow, and to workers, by what is in its file of weights and not by where it lies."""

import json
from pathlib import Path

import pytest

from orchestrator.plan.planner import dump
from orchestrator.store.trial_record import Planned
from orchestrator.studyfile.space.trees import content
from orchestrator.tracking.entries import config_hash, trial_params
from orchestrator.worker.attempt import _same_trial
from trainable.config import TrialConfig


def trial(setting: str, path: Path) -> TrialConfig:
    model = {"arch": "fpn", "encoder": "resnet18", "encoder_weights": None, setting: str(path)}
    tree = {"data": {"name": "shapes"}, "model": model, "train": {"epochs": 1, "batch_size": 1}}
    return TrialConfig.model_validate_json(json.dumps(tree))


def planned(config: TrialConfig) -> Planned:
    return Planned("search-0000", "search", 0, dump(config), {})


@pytest.mark.parametrize("setting", ["encoder_weights", "weights"])
def test_the_hash_is_shown_and_the_path_is_not(tmp_path: Path, setting: str) -> None:
    for name, text in (("a.pt", "one"), ("b.pth", "one"), ("c.pt", "other")):
        (tmp_path / name).write_text(text)
    one, same, other = (trial(setting, tmp_path / name) for name in ("a.pt", "b.pth", "c.pt"))
    assert content(one) == content(same) != content(other)
    assert config_hash(dump(one)) == config_hash(dump(same)) != config_hash(dump(other))
    assert _same_trial(planned(one), planned(same))
    assert not _same_trial(planned(one), planned(other))
    shown = trial_params(planned(one), planned(one))
    digest = dump(one)["model"][setting]["sha256"]  # type: ignore[index, call-overload]
    assert shown[f"model.{setting}.sha256"] == digest
    assert not any(str(tmp_path) in value for value in shown.values())
