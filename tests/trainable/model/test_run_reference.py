"""A network of an MLflow run is named by its run and known by its content; trials read it from this machine's cache."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from trainable.model.build import build_model, check_model
from trainable.model.config import ModelConfig, WeightsFile
from trainable.model.encoders import ModelError
from trainable.model.export import save
from trainable.model.fetched import is_here, place_of, put_in_cache
from trainable.model.run_reference import read_reference
from trainable.suppression.config import SuppressionConfig

SHA = "ab" * 32


def model(written: object) -> ModelConfig:
    section = {"arch": "linknet", "encoder": "tu-test_resnet", "encoder_weights": None, "weights": written}
    return ModelConfig.model_validate_json(json.dumps(section))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("runs:/0a1b", "runs:/0a1b/model.safetensors"),
        ("runs:/0a1b/nets/last.pt", "runs:/0a1b/nets/last.pt"),
        (f"runs:/0a1b@{SHA}", f"runs:/0a1b/model.safetensors@{SHA}"),
    ],
)
def test_what_a_reference_names(written: str, read: str) -> None:
    assert str(read_reference(written)) == read


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("runs:/", "runs:/RUN_ID or runs:/RUN_ID/FILE; got 'runs:/'"),
        ("runs:/a/b.pt@12", "runs:/RUN_ID or runs:/RUN_ID/FILE; got"),
        ("runs:/a/../b.pt", "a path below its artifacts"),
        ("runs:/a/model", "ends in .pt, .pth, .safetensors; got 'model'; runs:/a alone names its model.safetensors"),
        ("runs:/a", "which only a study asks"),
    ],
)
def test_what_names_nothing_is_refused(written: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        model(written)


def test_the_content_alone_tells_files_of_runs_apart() -> None:
    file = model(f"runs:/a@{SHA}").weights
    assert file == WeightsFile(path="runs:/a/model.safetensors", sha256=SHA)
    assert file == WeightsFile(path="/elsewhere/w.pt", sha256=SHA)


def test_a_file_that_is_not_on_this_machine_is_one_line() -> None:
    with pytest.raises(ModelError, match=r"^model\.weights: runs:/a/model\.safetensors: not on this machine [^\n]*$"):
        check_model(model(f"runs:/a@{SHA}"), classes=3)


def test_a_damaged_cache_is_filled_anew() -> None:
    file = put_in_cache("runs:/a/w.pt", b"content")
    place_of(file).write_bytes(b"damaged")
    assert not is_here(file)
    assert put_in_cache("runs:/other/w.pt", b"content") == file
    assert is_here(file)
    assert place_of(file).read_bytes() == b"content"
    assert [path.name for path in place_of(file).parent.glob(".*")] == []


def test_of_a_network_with_a_folded_decoder_block_the_encoder_alone_is_taken(tmp_path: Path) -> None:
    plain, path = model(None), tmp_path / "w.safetensors"
    trained = build_model(plain, 3, SuppressionConfig())
    save(trained, plain, path)
    with pytest.raises(ModelError, match=r"w\.safetensors: is of a network with a suppression block"):
        check_model(model(str(path)), classes=3)
    again = build_model(ModelConfig(arch="linknet", encoder=plain.encoder, encoder_weights=str(path)), 3, None)  # type: ignore[arg-type]
    theirs = trained.encoder.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in again.encoder.state_dict().items())
