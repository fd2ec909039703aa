"""Launches on a Ray that believes in a GPU: trials whose memory runs out end complete, and the record says how."""

import io
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
from rich.console import Console

from orchestrator.driver.packing import share_of
from orchestrator.errors import InputError
from orchestrator.launch.one_launch import Target, launch
from orchestrator.status import status
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Study

pytestmark = pytest.mark.integration

HERE = Path(__file__).parents[1]
Make = Callable[..., Study]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "marks").mkdir()
    monkeypatch.setenv("OUT_OF_MEMORY", str(tmp_path / "marks"))
    monkeypatch.setattr("orchestrator.driver.cluster.ray.init", partial(ray.init, num_gpus=1))
    return tmp_path


def run(study: Study) -> int:
    target = Target(fit="more_fits:out_of_memory", probe="more_fits:peak")
    return launch(study, storage="out", target=target, command="again")


def records(place: Path) -> dict[str, Record]:
    return {record.key: record for record in Store(str(place / "out"), "s").records()}


def claims(place: Path, key: str) -> list[dict[str, Any]]:
    files = sorted(place.glob(f"out/s/trials/{key}/attempt-*.json"))
    return [json.loads(file.read_text())["content"] for file in files]


def set_back(found: dict[str, Record]) -> dict[str, Record]:
    return {key: record for key, record in found.items() if record.setbacks}


SETTINGS = ("search.trials=4", "search.references=[]", "tracking.enabled=false", "resources.retry_backoff_s=0")


def test_a_trial_without_memory_goes_on_alone_from_its_checkpoint(
    study: Make, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(study("resources.gpu=0.5", *SETTINGS)) == 0
    found = records(place)
    assert {record.state for record in found.values()} == {State.COMPLETE}
    assert all(len(record.epochs) == 4 for record in found.values())
    again = set_back(found)
    assert len(again) == len(list((place / "marks").iterdir())) > 0
    for key, record in again.items():
        (setback,) = record.setbacks
        assert (setback.attempt, setback.rung, setback.gpu, setback.by_others) == (1, "shared", 0.5, False)
        assert (setback.peak, setback.cap, setback.total) == (13 * 2**30, 11 * 2**30, 24 * 2**30)
        assert [(claim["rung"], claim["share"]) for claim in claims(place, key)] == [("shared", 0.5), ("alone", 1.0)]
        log = (place / f"out/s/trials/{key}/log-2.txt").read_text()
        assert "attempt 2 continues after epoch 2" in log
    for key in found.keys() - again.keys():
        assert len(claims(place, key)) == 1, "no neighbour was disturbed"
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(status(str(place / "out"), "s"))
    line = "out of GPU memory, epoch 3, step 2 (peak 13.00, cap 11.00, free 1.00, total 24.00 GiB)"
    assert line in console.export_text()
    assert f"out of GPU memory, run again alone on a GPU: {', '.join(again)}" in capsys.readouterr().out
    assert not (place / "out/s/gpu-memory.json").exists(), "nothing is measured for a fixed share"


def test_measured_shares_and_the_last_rung(
    study: Make, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALWAYS", "1")
    assert run(study("resources.gpu=auto", "train.memory=exact", *SETTINGS)) == 0
    found = records(place)
    again = set_back(found)
    assert {record.state for record in found.values()} == {State.COMPLETE}
    measured, refined = share_of(9 * 2**30, 24 * 2**30), share_of(13 * 2**30, 24 * 2**30)
    for key, record in again.items():
        assert [setback.rung for setback in record.setbacks] == ["shared", "alone"]
        first, *others = claims(place, key)
        assert first["rung"] == "shared"
        assert first["share"] in (measured, refined)
        assert [(claim["rung"], claim["share"]) for claim in others] == [("alone", 1.0), ("recompute", 1.0)]
    assert again
    for key in found.keys() - again.keys():
        (claim,) = claims(place, key)
        assert claim["share"] in (measured, refined)
    said = capsys.readouterr().out
    assert said.count("trials of its kind hold 9.00 GiB of a GPU's 24.0 at most") == 1, "one probe for all"
    assert f"out of GPU memory, their activations computed again: {', '.join(again)}" in said
    peaks = json.loads((place / "out/s/gpu-memory.json").read_text())["content"].values()
    assert [peak["peak"] for peak in peaks] == [13 * 2**30], "what trials report refines what was measured"


def test_without_a_gpu_auto_is_refused_in_a_line(study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"^resources: \{cpu: 1, gpu: auto\}: no node can ever meet this; the largest"):
        launch(study("resources.gpu=auto", *SETTINGS), storage="out", target=Target(), command="again")
