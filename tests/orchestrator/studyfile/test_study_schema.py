"""The JSON Schema of study files."""

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from orchestrator.studyfile.schema import study_schema

FOLDER = Path(__file__).parents[3] / "search_spaces"
VALIDATOR = Draft7Validator(study_schema())

STUDY = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes, size: [{int: [32, 64], step: 32}, 64], augment: {scale: [0.5, 2.0]}}
model: {choice: [{arch: fpn, encoder: resnet18}, {arch: unet, encoder: tu-resnet10t, encoder_weights: "${W}"}]}
train: {epochs: 3, batch_size: {log_int: [4, 16]}, lr: {log_uniform: [1.0e-4, "${HIGH}"]}, class_weights: null}
suppression:
  choice:
    - null
    - {sampling: {choice: [{name: uniform}, {name: inverse_frequency, tau: {uniform: [0.5, 2], step: 0.5}}]}}
    - {p_max: {choice: [0, {uniform: [0.5, 1]}]}}
search: {sampler: tpe, trials: 4, pruner: {name: asha, grace_epochs: 2}}
resources: {cpu: "${CPU}"}
"""


def mistakes(text: str) -> list[str]:
    return [error.json_path for error in VALIDATOR.iter_errors(yaml.safe_load(text))]


def test_it_is_a_schema():
    Draft7Validator.check_schema(study_schema())


def test_the_file_is_current():
    assert json.loads((FOLDER / "schema.json").read_text()) == study_schema(), (
        "run: python -m orchestrator.studyfile.schema > search_spaces/schema.json"
    )


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_study_files_match_and_refer_to_it(path: Path):
    assert "# yaml-language-server: $schema=schema.json" in path.read_text().splitlines()[:3]
    assert mistakes(path.read_text()) == []


def test_a_study_with_everything_matches():
    assert mistakes(STUDY) == []
    assert mistakes(STUDY.replace("{metric: val/miou, mode: max}", "[{metric: val/miou, mode: max}]")) == []


def test_a_resolved_study_matches(read):
    assert mistakes(yaml.safe_dump(read().resolved())) == []


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("study: s", "study: s\nmodle: 1", "$"),
        ("study: s", "study: a b", "$.study"),
        ("{epochs: 3,", "{epoch: 3,", "$.train"),
        ("{log_int: [4, 16]}", "{uniform: [4, 16]}", "$.train"),
        ("{log_int: [4, 16]}", "{log_int: [4]}", "$.train"),
        ("{log_int: [4, 16]}", "{log_int: [4, 16], step: 2}", "$.train"),
        ("{log_int: [4, 16]}", "{choice: []}", "$.train"),
        ("tau: {uniform", "tau: {unifrom", "$.suppression"),
        ("name: inverse_frequency", "name: inverse", "$.suppression"),
        ("encoder: resnet18", "encoder: resnet19", "$.model"),
        ("mode: max", "mode: maximum", "$.objective"),
        ("sampler: tpe", "sampler: tp", "$.search.sampler"),
        ("trials: 4", "trials: {int: [1, 4]}", "$.search.trials"),
        ("size: [{int: [32, 64], step: 32}, 64]", "size: [32]", "$.data"),
    ],
)
def test_what_it_refuses(old, new, path):
    assert old in STUDY
    assert mistakes(STUDY.replace(old, new)) == [path]
