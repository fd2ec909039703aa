"""Parts of one's own in a trial: their own errors, code that is not the trial's, and the command that runs it alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.own_part_modules import forgotten, write_parts
from trainable.__main__ import main
from trainable.config import TrialConfig, read_trial
from trainable.parts.loading import PartFailed
from trainable.parts.source import VARIABLE, code_of, look_in
from trainable.train.engine import fit


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(VARIABLE, "")
    path = write_parts(tmp_path, "trial_parts")
    look_in(tmp_path)
    with forgotten("trial_parts"):
        yield path


@pytest.fixture
def trial(make_trial) -> TrialConfig:
    suppression = {"mechanism": {"name": "trial_parts:Fade", "strength": 0.5}, "p_max": 1.0, "schedule": "constant"}
    trial: TrialConfig = make_trial(suppression=suppression, evaluation={"metrics": ["trial_parts:Found"]})
    return trial


def changed(trial: TrialConfig, mechanism: dict[str, Any]) -> TrialConfig:
    tree = trial.model_dump(mode="json")
    return read_trial({**tree, "suppression": {**tree["suppression"], "mechanism": mechanism}})


def test_an_error_of_the_part_ends_the_trial_with_its_own_line(trial: TrialConfig, tmp_path: Path) -> None:
    falls = changed(trial, {"name": "trial_parts:Falls", "strength": 0.5})
    with pytest.raises(PartFailed) as failed:
        list(fit(falls, device="cpu", threads=1))
    assert str(failed.value) == (
        "trial_parts:Falls: AttributeError: 'Tensor' object has no attribute 'no_such_thing' "
        f"({tmp_path}/trial_parts.py:19 in channels)"
    )


def test_a_loss_of_regions_has_no_mean_to_keep(make_trial) -> None:
    train = {"epochs": 1, "batch_size": 4, "loss": "trial_parts:Region"}
    kept = make_trial(train=train, suppression={"reweight": "keep"})
    with pytest.raises(PartFailed, match=r"trial_parts:Region: suppression\.reweight keep divides by all labelled"):
        list(fit(kept, device="cpu", threads=1))
    [result] = fit(make_trial(train=train, suppression={}), device="cpu", threads=1)
    assert 0 < result.metrics["train/ce"] < 10


def test_a_worker_with_other_code_does_not_train(trial: TrialConfig, module: Path) -> None:
    module.write_text(f"{module.read_text()}\n# changed\n")
    code_of.cache_clear()
    with pytest.raises(PartFailed, match="the code of trial_parts:Fade is not that of this trial"):
        list(fit(trial, device="cpu", threads=1))
    module.unlink()
    code_of.cache_clear()
    with pytest.raises(PartFailed, match="cannot import trial_parts"):
        list(fit(trial, device="cpu", threads=1))


def test_the_command_runs_a_trial_with_parts_and_tells_what_is_wrong_with_them(
    trial: TrialConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], module: Path
) -> None:
    file = tmp_path / "best.yaml"
    file.write_text(yaml.safe_dump(trial.model_dump(mode="json")))
    assert main([str(file), "--threads", "1", "--set", "train.epochs=1"]) == 0
    assert "val/found = " in capsys.readouterr().out
    assert main([str(file), "--set", "suppression.mechanism.strength=7"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("--set suppression.mechanism.strength=7: suppression.mechanism: ") or "at most 1" in told
    module.write_text(f"{module.read_text()}\n# changed\n")
    assert main([str(file)]) == 2
    assert "suppression.mechanism.sha256: the code of trial_parts:Fade has changed" in capsys.readouterr().err
