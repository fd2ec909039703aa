"""Ablations as they are read: what a file may leave out, and that a resolved study is the same study."""

import pytest
import yaml

from orchestrator.studyfile import Study, load
from orchestrator.studyfile.sections.comparison import BestOf, Winner, Written

HEAD = """study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes}
model: {arch: fpn, encoder: resnet18}
train: {epochs: 12, batch_size: 8}
suppression: {alpha: 0.3, gate_norm: mean}
"""
SEARCH = HEAD.replace("alpha: 0.3", "alpha: {uniform: [0, 1]}") + "search: {trials: 3}\nconfirm: {top: 2}\n"
FACTORS = "factors: {suppression.layer: [decoder, encoder.4]}"


@pytest.fixture
def read(tmp_path):
    def read(text: str, *overrides: str) -> Study:
        (tmp_path / "x.yaml").write_text(text)
        return load(tmp_path / "x.yaml", overrides, {})

    return read


def test_an_ablation_alone_has_no_search_and_eight_seeds(read):
    study = read(f"{HEAD}ablation: {{design: one_at_a_time, {FACTORS}}}\n")
    assert not study.spec.searched
    assert study.spec.ablation.seeds == 8
    assert study.spec.ablation.read_baseline(searched=False) == Written({})
    assert "search" not in study.resolved()
    assert "confirm" not in study.resolved()


def test_the_winner_is_the_baseline_where_the_file_has_a_search(read):
    study = read(f"{SEARCH}ablation: {{design: one_at_a_time, {FACTORS}}}\n")
    assert study.spec.searched
    assert (study.spec.confirm.top, study.spec.confirm.seeds) == (2, 8)
    assert study.spec.ablation.read_baseline(searched=True) == Winner()


def test_baselines(read):
    def baseline(text):
        study = read(f"{HEAD}ablation: {{design: one_at_a_time, {FACTORS}, baseline: {text}}}\n")
        return study.spec.ablation.read_baseline(searched=False)

    assert baseline("{best: other-study}") == BestOf("other-study")
    assert baseline("{preset: full}") == Written({"preset": "full"})
    assert baseline("{suppression.alpha: 1}") == Written({"suppression.alpha": 1})


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}ablation: {{design: one_at_a_time, {FACTORS}, baseline: {{suppression.alpha: 1}}}}\n",
        f"{HEAD}ablation: {{design: {{name: path, target: {{suppression.layer: encoder.4}}}}, {FACTORS}}}\n",
        f"{HEAD}ablation: {{design: arms, arms: {{a: plain, b: {{suppression.alpha: 0}}}}, seeds: 3, seed: 4}}\n",
        f"{SEARCH}ablation: {{design: leave_one_out, {FACTORS}}}\n",
        SEARCH,
    ],
)
def test_a_resolved_study_is_the_study_file_of_the_same_study(read, text):
    study = read(text)
    again = read(yaml.safe_dump(study.resolved()))
    assert again.spec == study.spec
    assert again.resolved() == study.resolved()


def test_options_of_the_command_line_add_a_factor(read):
    text = f"{HEAD}ablation: {{design: one_at_a_time, {FACTORS}}}\n"
    study = read(text, "ablation.factors.suppression.alpha=[0.3, 0]", "ablation.seeds=4")
    assert study.spec.ablation.read_factors() == {
        "suppression.layer": ("decoder", "encoder.4"),
        "suppression.alpha": (0.3, 0),
    }
    assert study.spec.ablation.seeds == 4


def test_the_test_split_is_scored_only_where_there_is_a_labelled_one(complain):
    assert complain(evaluation="{test_at_end: true}") == [
        "10 evaluation.test_at_end: shapes has no labelled test split besides the one that is scored",
        "10 evaluation.test_at_end: a search must not see the test split; confirm: scores the confirmed runs on it",
    ]
