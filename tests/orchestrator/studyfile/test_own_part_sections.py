"""Study files that name parts of one's own: where mistakes are told, and how the parts are searched and named."""

from pathlib import Path

import pytest

from orchestrator.plan.ablation import expected
from orchestrator.studyfile import load
from orchestrator.studyfile.space.space import SearchSpace
from tests.own_part_modules import write_parts
from trainable.parts.section import OwnPart
from trainable.parts.source import VARIABLE, code_of

pytestmark = pytest.mark.integration  # parts are imported in processes of their own


@pytest.fixture(autouse=True)
def _module_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    write_parts(tmp_path, "study_parts")
    code_of.cache_clear()


CHOICE = (
    "{p_max: {uniform: [0, 1]}, mechanism: {choice: [gate, {name: 'study_parts:Fade', strength: {uniform: [0, 1]}}]},"
    " sampling: {choice: [uniform, 'study_parts:Turns', {name: listed, classes: [sand]}]}}"
)


def test_a_part_is_searched_beside_built_in_ones(read) -> None:
    study = read(
        suppression=CHOICE, evaluation="{metrics: ['study_parts:Found']}", objective="{metric: val/found, mode: max}"
    )
    names = [name for name, _, _ in study.space.domains()]
    assert names == [
        "suppression.p_max", "suppression.mechanism", "suppression.mechanism.Fade.strength", "suppression.sampling"
    ]  # fmt: skip
    labels = {name: domain.labels for name, domain, _ in study.space.domains() if hasattr(domain, "labels")}
    assert labels == {"suppression.mechanism": ("gate", "Fade"), "suppression.sampling": ("uniform", "Turns", "listed")}
    picks = {
        "suppression.p_max": 0.5, "suppression.mechanism": "Fade", "suppression.mechanism.Fade.strength": 0.25,
        "suppression.sampling": "Turns",
    }  # fmt: skip
    trial = study.space.trial(lambda name, _: picks[name], seed=3)
    assert trial.suppression is not None
    assert isinstance(trial.suppression.mechanism, OwnPart)
    assert trial.suppression.mechanism.settings == {"strength": 0.25}
    assert len(trial.suppression.mechanism.sha256) == 64
    assert study.space.locate(trial) == picks
    assert isinstance(study.space, SearchSpace)


def test_mistakes_in_parts_are_told_at_their_lines_all_at_once(complain, tmp_path: Path) -> None:
    """What needs no import at once; what does in one process, the bounds of domains too."""
    lines = complain(
        suppression="{mechanism: {choice: [gate, 'study_part:Fade', 'study_parts:Fad']}}",
        train="{epochs: 12, batch_size: 8, loss: 'study_parts:'}",
    )
    assert [line.partition(";")[0] for line in lines] == [
        "5 train.loss: a part of your own is module:Class, as my_parts:Gate",
        f"6 suppression.mechanism: cannot import study_part (no module named 'study_part' here, nor in {tmp_path}, "
        f"{Path.cwd()}",
        "6 suppression.mechanism: study_parts has no class 'Fad'",
    ]
    assert "did you mean study_parts?" in lines[1]
    lines = complain(
        suppression="{mechanism: {choice: [{name: 'study_parts:Fade', strength: {uniform: [0, 2]}},"
        " {name: 'study_parts:Fade', strenght: 1.0}, {name: 'study_parts:Fade', strength: 1.0, mode: 3},"
        " 'study_parts:Lazy', 'study_parts:Foreign', 'study_parts:Fade']},"
        " sampling: {choice: [{name: 'study_parts:Turns', step: 1.5}, 'study_parts:Fade']}}",
        evaluation="{metrics: ['study_parts:Turns']}",
    )
    told = "\n".join(lines)
    for expected_line in (
        "suppression.mechanism: study_parts:Fade: ValueError: strength must be at most 1, got 2.0 (",
        f"({tmp_path}/study_parts.py:9 in __init__)",
        "suppression.mechanism.strenght: unknown key 'strenght'; one of strength, mode (did you mean 'strength'?)",
        "suppression.mechanism.mode: expected text, got 3",
        "suppression.mechanism.strength: missing",
        "suppression.mechanism: study_parts:Lazy lacks channels() of trainable.parts.Mechanism",
        "suppression.mechanism: study_parts:Foreign is no trainable.parts.Mechanism: derive it from that class",
        "suppression.sampling.step: Input should be a valid integer",
        "suppression.sampling: study_parts:Fade is no trainable.parts.Sampling",
        "evaluation.metrics[0]: study_parts:Turns is no trainable.parts.Metric",
    ):
        assert expected_line in told
    assert all(line[0].isdigit() for line in lines)


def test_an_ablation_names_its_arms_by_the_class_and_checks_their_parts(read, complain) -> None:
    factors = (
        "{design: one_at_a_time, seeds: 6,"
        " factors: {suppression.mechanism: [gate, {name: 'study_parts:Fade', strength: %s}]}}"
    )
    study = read(search="{trials: 4, references: []}", ablation=factors % "0.5")
    trials = expected(study)
    owned = [trial.suppression.mechanism for trial in trials if trial.suppression]
    assert any(isinstance(part, OwnPart) and part.settings == {"strength": 0.5} for part in owned)
    [line] = complain(ablation=factors % "1.5")
    assert "ablation.factors.suppression.mechanism: study_parts:Fade: ValueError: strength must be at most 1" in line


def test_a_pinned_hash_that_is_not_that_of_the_code_is_refused(write, complain) -> None:
    part = "{p_max: {uniform: [0, 1]}, mechanism: {name: 'study_parts:Fade', strength: 0.5%s}}"
    [line] = complain(suppression=part % f", sha256: '{'0' * 64}'")
    assert line.startswith("6 suppression.mechanism.sha256: the code of study_parts:Fade has changed: sha256 000000000")
    study = load(write(suppression=part % ""), env={})
    mechanism = {"name": "study_parts:Fade", "strength": 0.5}
    assert study.space.at_center()["suppression"] == {"p_max": 0.5, "mechanism": mechanism}
