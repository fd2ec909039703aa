"""What a launch writes down of itself: a command that another machine runs, and nothing that is secret."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.launch.launch_note import keep_launch, shown_command
from orchestrator.launch.open_study import OpenStudy
from orchestrator.store.commands import again, interpreter
from orchestrator.store.launches import read_launches
from orchestrator.store.records import Store
from orchestrator.studyfile import load

SPEC = """
study: noted
objective: {metric: val/miou, mode: max}
data: {name: shapes, train_images: 12, val_images: 4}
model: {arch: fpn, encoder: resnet18, encoder_weights: null}
train: {epochs: 1, batch_size: 4, lr: {log_uniform: [1.0e-4, 1.0e-2]}}
search: {sampler: random, trials: 2}
tracking: {uri: "${PAGES}"}
"""


def test_a_command_holds_no_value_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "/secret/place")
    monkeypatch.setenv("SHORT", "ab")
    command = again(["study.yaml", "--set", "data.root=/secret/place/x", "--set", "tracking.uri=http://me:pw@host/ab"])
    said = shown_command(command, {"data.root": "${PLACE}/x", "study": "${SHORT}"})
    masked = "--set data.root=${PLACE}/x --set tracking.uri=http://***@host/ab"
    assert said == f"python -m orchestrator.sweep study.yaml {masked}", "a short value is no secret"


def test_a_launch_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGES", "http://pages.example")
    spec = tmp_path / "study.yaml"
    spec.write_text(SPEC)
    study = load(spec, (), env={"PAGES": "http://pages.example"})
    store = Store(str(tmp_path / "studies"), "noted")
    stop = SimpleNamespace(command=f"{interpreter()} -m orchestrator.sweep study.yaml")
    opened = cast(OpenStudy, SimpleNamespace(study=study, store=store, stop=stop))
    keep_launch(opened)
    keep_launch(opened)
    first, second = read_launches(store.objects)
    assert first.command == "python -m orchestrator.sweep study.yaml"
    assert {"python", "torch", "ray", "optuna"} <= set(first.versions)
    counts: list[Any] = list(first.images.values())
    assert counts == [{"train": 12, "val": 4}]
    assert first.runs == "${PAGES}", "not where it is"
    assert first.began <= second.began
