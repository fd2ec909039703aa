"""Values of ${NAME} in an ablation: they train, and no arm's name, table, page or plan's page shows them."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.plan.ablation import ablation
from orchestrator.plan.comparison import Comparison
from orchestrator.store.kept_study import KeptStudy
from orchestrator.store.masking import from_env_of, shown, shown_plan
from orchestrator.store.records import Store
from orchestrator.store.results_table import table
from orchestrator.store.stage_plan import StagePlan
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Study, load
from orchestrator.tracking import StudyInfo
from orchestrator.tracking.entries import trial_params, trial_tags
from trainable.configfile.node import JsonObject

FILE = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes}
model: {arch: fpn, encoder: "${MAIN}", encoder_weights: null}
train: {epochs: 4, batch_size: 20, lr: "${LR}"}
ablation: {%s, seeds: 2}
"""
ENV = {
    "MAIN": "resnet18",
    "NET": "resnet34",
    "OTHER": "resnet50",
    "LR": "0.0125",
    "RATE": "0.375",
    "WARM": "class_weighted",
}
VALUES = ("resnet34", "resnet50", "0.0125", "0.375", "resnet18")


def read(section: str, tmp_path: Path) -> Study:
    path = tmp_path / "s.yaml"
    path.write_text(FILE % section)
    return load(path, (), env=ENV)


def arms_of(study: Study) -> Comparison:
    return ablation(study, study.space.at_center(), lambda _config, _seeds: 0.5)


def everything_shown(study: Study, comparison: Comparison, folder: Path) -> str:
    """All that tables, pages and MLflow would show of the comparison, as text."""
    store = Store(str(folder), "s")
    store.write_study(study.resolved(), from_env=study.from_env)
    comparison.plan.write(store.objects)
    info = StudyInfo(store, KeptStudy("1", study.resolved(), from_env=study.from_env))
    texts: list[object] = [shown_plan(comparison.plan, study.from_env), info.settings]
    for planned in comparison.cells():
        record = Record(planned, ({"val/miou": 0.5},)).ended(State.COMPLETE, f"with {planned.config['model']}")
        masked = info.shown(record)
        assert masked == shown(record, from_env_of(planned, study.from_env, comparison.plan))
        texts += [
            table([masked]).to_pylist(),
            trial_params(planned, masked.planned),
            info.former_name(record),
            info.note(record, record),
        ]
        texts += [{**trial_tags(planned), "config_hash": ""}, planned.key]
    return str(texts)


def shown_settings(study: Study, comparison: Comparison, path: str) -> dict[str, object]:
    """A setting of each arm as it is shown."""
    section, _, name = path.partition(".")
    masked = {
        planned.arm: shown(Record(planned), from_env_of(planned, study.from_env, comparison.plan)).planned.config
        for planned in comparison.cells()
    }
    return {str(arm): config[section][name] for arm, config in masked.items()}  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    "design",
    [
        "one_at_a_time",
        "leave_one_out",
        "factorial",
        "{name: path, target: {model.encoder: '${NET}', train.lr: '${RATE}'}}",
    ],
)
def test_levels_of_factors(design: str, tmp_path: Path) -> None:
    factors = 'factors: {model.encoder: ["${MAIN}", "${NET}"], train.lr: ["${LR}", "${RATE}"]}'
    study = read(f"design: {design}, {factors}", tmp_path)
    comparison = arms_of(study)
    configs = [config.model.encoder for config in comparison.configs.values()]
    assert {"resnet18", "resnet34"} == set(configs), "the values train"
    text = everything_shown(study, comparison, tmp_path)
    assert [value for value in VALUES if value in text] == []
    assert comparison.plan.factors["model.encoder"] == ("resnet18", "resnet34")
    assert shown_plan(comparison.plan, study.from_env).factors["model.encoder"] == ("${MAIN}", "${NET}")


def test_an_arm_is_shown_with_its_own_level(tmp_path: Path) -> None:
    study = read('design: one_at_a_time, factors: {model.encoder: ["${NET}", "mobilenet_v2", "${OTHER}"]}', tmp_path)
    comparison = arms_of(study)
    names = ["baseline", "encoder=${NET}", "encoder=mobilenet_v2", "encoder=${OTHER}"]
    assert [arm.name for arm in comparison.plan.arms] == names
    assert comparison.plan.factors["model.encoder"] == ("resnet18", "resnet34", "mobilenet_v2", "resnet50")
    assert shown_settings(study, comparison, "model.encoder") == dict(
        zip(names, ("${MAIN}", "${NET}", "mobilenet_v2", "${OTHER}"), strict=True)
    )
    assert set(shown_settings(study, comparison, "train.lr").values()) == {"${LR}"}
    assert [planned.key for planned in comparison.cells()][:2] == ["ablation-baseline-s0", "ablation-encoder-net-s0"]


@pytest.mark.parametrize(
    "arms",
    [
        'design: arms, arms: {small: {model.encoder: "${NET}"}, plain: {model.encoder: vgg11}, warm: "${WARM}"}',
        'design: arms, arms: {small: {model: {arch: fpn, encoder: "${NET}", encoder_weights: null}}}',
        'design: arms, baseline: {model.encoder: "${OTHER}"}, arms: {small: {model.encoder: "${NET}", train.lr: 0.5}}',
    ],
)
def test_named_arms(arms: str, tmp_path: Path) -> None:
    study = read(arms, tmp_path)
    text = everything_shown(study, arms_of(study), tmp_path)
    assert [value for value in VALUES if value in text] == []
    assert shown_settings(study, arms_of(study), "model.encoder")["small"] == "${NET}"


def test_a_list_of_presets(tmp_path: Path) -> None:
    study = read('design: arms, arms: [plain, "${WARM}"]', tmp_path)
    comparison = arms_of(study)
    assert [arm.name for arm in comparison.plan.arms][-2:] == ["plain", "${WARM}"]
    assert "class_weighted" not in str([arm.name for arm in comparison.plan.arms])


def test_plans_without_variables_are_kept_as_before(tmp_path: Path) -> None:
    study = read("design: one_at_a_time, factors: {train.batch_size: [20, 10]}", tmp_path)
    plan, store = arms_of(study).plan, Store(str(tmp_path), "s")
    plan.write(store.objects)
    kept: JsonObject = store.objects.read_json("plan-ablation.json")
    assert "shown" not in kept
    assert StagePlan.read(store.objects, "ablation") == plan
    assert kept["hash"] == plan.hash


def test_a_plan_with_variables_comes_back(tmp_path: Path) -> None:
    study = read('design: one_at_a_time, factors: {model.encoder: ["${NET}", vgg11]}', tmp_path)
    plan, store = arms_of(study).plan, Store(str(tmp_path), "s")
    plan.write(store.objects)
    again: Any = StagePlan.read(store.objects, "ablation")
    assert json.dumps(again.shown) == json.dumps({"model.encoder": ["${MAIN}", "${NET}", "vgg11"]})
    assert again.hash == plan.hash
