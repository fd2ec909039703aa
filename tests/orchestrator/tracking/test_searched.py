"""Columns and axes of a study's views are parameters that its runs really have."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.plan.ablation import ablation
from orchestrator.plan.planner import dump
from orchestrator.store.trial_record import Planned
from orchestrator.studyfile import Choice, Domain, Study, Value, load
from orchestrator.tracking.entries import key_of, trial_params
from orchestrator.tracking.searched import Searched, compared, searched

HEAD = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes, AUGMENT}
model: {arch: fpn, encoder: resnet18, encoder_weights: null}
train: {epochs: 4, batch_size: 20, TRAIN}
suppression: {SUPPRESSION}
"""
SEARCH = "search: {sampler: random, trials: 4}\n"
SHAPES = {
    "names alone": (
        "SUPPRESSION", "sampling: {choice: [uniform, frequency]}", {"suppression.sampling.name": (False, True)},
    ),
    "mappings": (
        "SUPPRESSION",
        "sampling: {choice: [{name: uniform}, {name: inverse_frequency, tau: {uniform: [0.25, 2.0]}}]}",
        {"suppression.sampling.name": (False, True), "suppression.sampling.tau": (True, False)},
    ),
    "names and mappings": (
        "SUPPRESSION",
        "sampling: {choice: [uniform, {name: effective_number, beta: {choice: [0.9, 0.99]}}]}",
        {"suppression.sampling.name": (False, True), "suppression.sampling.beta": (True, False)},
    ),
    "mappings of one name": (
        "SUPPRESSION",
        "sampling: {choice: [{name: inverse_frequency, tau: 0.5}, {name: inverse_frequency, tau: 1.0}, uniform]}",
        {"suppression.sampling.name": (False, True), "suppression.sampling.tau": (False, False)},
    ),
    "a name with a default section": (
        "SUPPRESSION", "loss_ramp: {choice: [linear, constant]}", {"suppression.loss_ramp.name": (False, True)},
    ),
    "layers and lists of them": (
        "SUPPRESSION",
        "layer: {choice: [decoder, encoder.4, [encoder.4, decoder]]}",
        {"suppression.layer": (False, True)},
    ),
    "numbers": (
        "SUPPRESSION",
        "p_max: {uniform: [0.0, 1.0]}, num_classes: {int: [1, 3]}, alpha: {choice: [0.1, 1.0]}",
        {"suppression.p_max": (True, True), "suppression.num_classes": (True, True), "suppression.alpha": (True, True)},
    ),
    "a setting that is null": (
        "TRAIN", "class_weights: {choice: [null, log_frequency]}", {"train.class_weights": (False, True)},
    ),
    "an optimizer": (
        "TRAIN",
        "optimizer: {choice: [sgd, {name: adamw, weight_decay: {log_uniform: [0.001, 0.1]}}]}",
        {"train.optimizer.name": (False, True), "train.optimizer.weight_decay": (True, False)},
    ),
    "whole sections without a name": (
        "AUGMENT",
        "augment: {choice: [{}, {flip: true, photometric: {uniform: [0.1, 0.5]}}, {flip: true, photometric: 0.7}]}",
        {"data.augment.flip": (False, True), "data.augment.photometric": (True, False)},
    ),
    "numbers within a list": ("AUGMENT", "size: [{int: [32, 64], step: 32}, 64]", {"data.size": (False, True)}),
}  # fmt: skip


def read(tmp_path: Path, body: str, *overrides: str) -> Study:
    path = tmp_path / "s.yaml"
    path.write_text(body)
    return load(path, overrides, env={})


def logged(study: Study, settings: tuple[Searched, ...]) -> Iterator[dict[str, str]]:
    """Parameters of runs that together pick every option of every domain."""
    first = [setting.path for setting in settings]
    for number in range(12):

        def pick(_name: str, domain: Domain, number: int = number) -> Value:
            return domain.labels[number % len(domain.labels)] if isinstance(domain, Choice) else domain.center()

        config = dump(study.space.trial(pick, seed=number))
        planned = Planned("search-0000", "search", 0, config, {})
        yield trial_params(planned, planned, first)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_column_is_a_parameter_of_runs_whatever_the_domain_looks_like(shape: str, tmp_path: Path) -> None:
    section, domain, expected = SHAPES[shape]
    body = HEAD.replace(section, domain)
    for other, usual in (("AUGMENT", "rho: 1.0"), ("TRAIN", "lr: 0.01"), ("SUPPRESSION", "gate_norm: mean")):
        body = body.replace(other, usual)
    study = read(tmp_path, body + SEARCH)
    settings = searched(study.resolved())
    assert {setting.path: (setting.numeric, setting.always) for setting in settings} == expected
    runs = list(logged(study, settings))
    for setting in settings:
        having = [run[key_of(setting.path)] for run in runs if key_of(setting.path) in run]
        assert len(having) == len(runs) if setting.always else having
        if setting.numeric:
            assert all(float(value) == float(value) for value in having)
    shown_first = [setting.path for setting in settings if setting.path in runs[0]]
    assert list(runs[0])[: len(shown_first)] == shown_first


def test_a_choice_of_presets_and_of_no_suppression_has_its_columns(tmp_path: Path) -> None:
    body = HEAD.replace("AUGMENT", "rho: 1.0").replace("TRAIN", "lr: 0.01").replace(
        "suppression: {SUPPRESSION}",
        "preset: {choice: [plain, full]}\n"
        "suppression: {choice: [null, {p_max: {uniform: [0.1, 1.0]}, gate_norm: mean}]}",
    )  # fmt: skip
    study = read(tmp_path, body + SEARCH)
    settings = searched(study.resolved())
    assert {"preset", "suppression.p_max"} <= {setting.path for setting in settings}
    union = {name for run in logged(study, settings) for name in run}
    assert {key_of(setting.path) for setting in settings} <= union


@pytest.mark.parametrize("design", ["one_at_a_time", "factorial"])
def test_factors_of_an_ablation_are_columns_that_its_runs_have(design: str, tmp_path: Path) -> None:
    factors = (
        "{suppression.sampling: [uniform, {name: inverse_frequency, tau: 0.5}], suppression.alpha: [10.0, 0.3], "
        "suppression.layer: [decoder, [encoder.4, decoder]], train.class_weights: [null, log_frequency], "
        "suppression.loss_ramp: [linear, constant]}"
    )
    body = HEAD.replace("AUGMENT", "rho: 1.0").replace("TRAIN", "lr: 0.01").replace("SUPPRESSION", "gate_norm: mean")
    study = read(tmp_path, f"{body}ablation: {{design: {design}, factors: {factors}, seeds: 2}}\n")
    settings = compared(study.resolved())
    assert [(setting.path, setting.numeric) for setting in settings] == [
        ("suppression.sampling.name", False),
        ("suppression.alpha", True),
        ("suppression.layer", False),
        ("train.class_weights", False),
        ("suppression.loss_ramp.name", False),
    ]
    planned = ablation(study, study.space.at_center(), lambda _config, _seeds: None).cells()
    first = [setting.path for setting in settings]
    runs = [trial_params(run, run, first) for run in planned]
    for setting in settings:
        assert len({run[key_of(setting.path)] for run in runs}) == 2, setting.path


def test_shipped_studies_search_what_their_runs_have(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "search_spaces/shapes.yaml"
    study = load(shipped, (), env={})
    settings = searched(study.resolved())
    names = {setting.path for setting in settings}
    assert {"suppression.p_max", "suppression.sampling.name", "suppression.layer"} <= names
    assert names <= {name for run in logged(study, settings) for name in run}


def test_a_specification_of_no_study_searches_nothing() -> None:
    assert searched({"suppression": {"p_max": {"uniform": "wide"}}}) == ()
    assert compared({"ablation": {"design": "nonsense"}}) == ()
