"""What leaves the store for a table, a page or MLflow holds no value of the environment."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from orchestrator.store.kept_study import KeptStudy
from orchestrator.store.masking import from_env_of, shown
from orchestrator.store.records import Store
from orchestrator.store.results_table import table, write_best
from orchestrator.store.short_picks import short_picks
from orchestrator.store.stage_plan import Arm, StagePlan
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Objective, Study, load
from orchestrator.tracking import StudyInfo
from orchestrator.tracking.entries import config_hash, trial_params, trial_tags
from trainable.configfile.node import JsonObject
from trainable.configfile.trees import read_tree

SECRET, NET = "/home/somebody/data", "tu-hidden_net"
FROM_ENV = {"data.root": "${DATA}", "data.size": '[32, "${SIDE}"]', "model.encoder": "${NET}", "model": "${ALL}"}
CONFIG: JsonObject = {
    "data": {"name": "camvid", "root": SECRET, "size": [32, 64]},
    "model": {"encoder": NET, "arch": "fpn"},
    "suppression": None,
    "seed": 7,
}
PLANNED = Planned("search-0000", "search", 0, CONFIG, {"model.encoder": NET, "train.lr": 0.25, f"data.layers.{NET}": 3})
RECORD = Record(PLANNED, ({"val/miou": 0.5},)).ended(State.FAILED, f"DataError: {SECRET}/train is no folder of {NET}")


def test_settings_stand_as_written_and_texts_lose_their_values() -> None:
    masked = shown(RECORD, FROM_ENV)
    assert masked.planned.config == {
        "data": {"name": "camvid", "root": "${DATA}", "size": '[32, "${SIDE}"]'},
        "model": {"encoder": "${NET}", "arch": "fpn"},
        "suppression": None,
        "seed": 7,
    }
    assert list(masked.planned.config) == list(CONFIG)
    assert masked.reason == "DataError: ${DATA}/train is no folder of ${NET}"
    assert masked.planned.picks == {"model.encoder": "${NET}", "train.lr": 0.25, "data.layers.${NET}": 3}
    assert RECORD.planned.config["data"] == {"name": "camvid", "root": SECRET, "size": [32, 64]}, "the record stays"
    assert masked == replace(RECORD, planned=masked.planned, reason=masked.reason)


def test_a_study_that_names_no_variable_is_shown_as_it_is() -> None:
    assert shown(RECORD, {}) == RECORD
    assert shown(Record(replace(PLANNED, picks=None)), FROM_ENV).planned.picks is None


def test_short_values_stay_in_texts() -> None:
    config: JsonObject = {**CONFIG, "model": {"encoder": "net", "arch": "fpn"}}
    masked = shown(replace(RECORD, planned=replace(PLANNED, config=config), reason="no net"), FROM_ENV)
    assert masked.reason == "no net", "no secret, and part of other words"
    assert masked.planned.config["model"] == {"encoder": "${NET}", "arch": "fpn"}


def test_a_prefix_shows_what_its_arms_show() -> None:
    arms = (Arm("a", {"train.lr": 0.25}), Arm("b", {"train.lr": 0.5}))
    plan = StagePlan("ablation", "arms", "a", arms, (1,))
    from_env = {"model.encoder": "${NET}", "ablation.arms.a.train.lr": "${RATE}"}
    prefix = replace(PLANNED, kind="prefix", arm="a", block=0, starts=(2,), picks=None)
    assert from_env_of(prefix, from_env, plan) == {"model.encoder": "${NET}", "train.lr": "${RATE}"}
    assert from_env_of(replace(prefix, arm="b"), from_env, plan) == {"model.encoder": "${NET}"}
    assert from_env_of(replace(prefix, arm=None), from_env, plan) == from_env


def test_a_value_inside_another_one_leaves_no_rest() -> None:
    config: JsonObject = {"data": {"name": "camvid", "root": "/data/secret/x"}, "model": {"encoder": "/data"}}
    record = replace(
        RECORD, planned=replace(PLANNED, config=config), reason="no folder /data/secret/x/train, but /data"
    )
    inner_first = {"model.encoder": "${SHORT}", "data.root": "${LONG}"}
    assert shown(record, inner_first).reason == "no folder ${LONG}/train, but ${SHORT}"


@pytest.mark.parametrize("root", ["/home/jürgen/data", f"/data/{'with words ' * 12}", "/data/it's", "/data: #1"])
def test_best_yaml_is_published_without_values_however_yaml_writes_them(root: str, tmp_path: Path) -> None:
    store, objective = Store(str(tmp_path), "s"), Objective(metric="val/miou", mode="max")
    config: JsonObject = {**CONFIG, "data": {"name": "camvid", "root": root, "size": [32, 64]}}
    write_best(store, replace(RECORD, planned=replace(PLANNED, config=config)), "s", objective, threads=1)
    specification: JsonObject = {"study": "s", "objective": objective.model_dump(), "tracking": {}}
    StudyInfo(store, KeptStudy("1", specification, from_env={"data.root": "${DATA}"})).write_study(tmp_path)
    published = (tmp_path / "best.yaml").read_text()
    assert yaml.safe_load(published) == {**config, "data": {"name": "camvid", "root": "${DATA}", "size": [32, 64]}}
    assert published.startswith("# search-0000 of study s: val/miou = 0.5 after epoch 1\n# Run it alone:  python -m")


def test_the_table_holds_no_value(tmp_path: Path) -> None:
    (row,) = table([shown(RECORD, FROM_ENV)]).to_pylist()
    assert (row["param.data.root"], row["param.data.size"]) == ("${DATA}", '[32, "${SIDE}"]')
    assert row["reason"] == "DataError: ${DATA}/train is no folder of ${NET}"
    assert row["seed"] == 7
    assert SECRET not in str(row)
    assert NET not in str(row)


def test_a_run_is_named_as_shown_and_hashed_as_it_is(tmp_path: Path) -> None:
    objective: JsonObject = {"metric": "val/miou", "mode": "max"}
    kept = KeptStudy("1", {"study": "s", "objective": objective, "tracking": {}}, from_env=FROM_ENV)
    study, masked = StudyInfo(Store(str(tmp_path), "s"), kept), shown(RECORD, FROM_ENV).planned
    assert study.former_name(RECORD) == "search-0000 encoder=${NET} lr=0.25 ${NET}=3"
    tags = trial_tags(PLANNED)
    assert tags == {"kind": "search", "seed": "7", "config_hash": config_hash(CONFIG)}
    assert tags["config_hash"] != config_hash(masked.config), "two secrets are two configurations"
    other: JsonObject = {**CONFIG, "data": {"name": "camvid", "root": "/elsewhere", "size": [32, 64]}}
    assert config_hash(other) == config_hash(CONFIG), "where the data lie is no part of it"
    params = trial_params(PLANNED, masked)
    data = {"data.name": "camvid", "data.root": "${DATA}", "data.size": '[32, "${SIDE}"]'}
    assert params == {**data, "model.encoder": "${NET}", "model.arch": "fpn"}


def test_logs_and_tracebacks_are_read_as_they_are(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "s")
    store.write_text("trials/search-0000/log-1.txt", f"reads {SECRET}")
    store.write_text("trials/search-0000/traceback.txt", "Traceback")
    assert store.texts(RECORD) == {"log-1.txt": f"reads {SECRET}", "traceback.txt": "Traceback"}
    assert store.texts(RECORD.ended(State.COMPLETE)) == {"log-1.txt": f"reads {SECRET}"}


@pytest.mark.parametrize(
    "text", ["1e3", "on", "010", "~", "null", "2020-01-01", "0x10", "1_000", ".inf", "a\x85b", "$${X}"]
)
def test_the_study_file_in_mlflow_is_read_as_it_was(text: str, tmp_path: Path) -> None:
    tracking: JsonObject = {"uri": None, "experiment": text}
    objective: JsonObject = {"metric": "val/miou", "mode": "max"}
    data: JsonObject = {"size": [32, 1e-05, True]}
    specification: JsonObject = {"study": text, "objective": objective, "data": data, "tracking": tracking}
    StudyInfo(Store(str(tmp_path / "studies"), "s"), KeptStudy("1", specification)).write_study(tmp_path)
    written = (tmp_path / "study.yaml").read_text(encoding="utf-8")
    assert json.dumps(read_tree(written)) == json.dumps(specification)


SEARCHED = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes}
model: {arch: {choice: ["${ARCH}", fpn]}, encoder: resnet18, encoder_weights: null}
train: {epochs: 4, batch_size: 20}
suppression: {sampling: {choice: ["${KIND}", uniform, {name: listed, classes: [sand]}]}, p_max: {choice: ["${P}", 1]}}
search: {sampler: random, trials: 3, references: []}
"""


def searched(folder: Path, text: str, picks: dict[str, str | float], **variables: str) -> tuple[Study, Record]:
    (folder / "s.yaml").write_text(text)
    study = load(folder / "s.yaml", env=variables)
    config = study.space.trial(lambda name, _: picks[name], 3).model_dump(mode="json")
    planned = Planned("search-0000", "search", 3, config, picks)
    return study, Record(planned, ({"val/miou": 0.5},)).ended(State.FAILED, "cannot be used")


def seen(study: Study, record: Record) -> tuple[dict[str, object], dict[str, str], str]:
    """Settings and picks in the table, parameters in MLflow, short picks."""
    masked = shown(record, study.from_env)
    (row,) = table([masked]).to_pylist()
    params = trial_params(record.planned, masked.planned)
    return row, params, short_picks(masked.planned.picks)


def test_of_a_choice_only_the_option_that_came_from_a_variable_is_hidden(tmp_path: Path) -> None:
    env = {"ARCH": "unetplusplus", "KIND": "frequency", "P": "0.375"}
    hidden: dict[str, str | float] = {"model.arch": "unetplusplus", "suppression.sampling": "frequency"}
    study, record = searched(tmp_path, SEARCHED, {**hidden, "suppression.p_max": 0.375}, **env)
    row, params, short = seen(study, record)
    everything = str([row, params, short])
    assert [value for value in env.values() if value in everything] == []
    assert (row["param.suppression.sampling.name"], row["param.model.arch"]) == ("${KIND}", "${ARCH}")
    assert params["suppression.sampling.name"] == "${KIND}"
    assert "param.suppression.sampling.tau" not in row, "defaults of what is hidden would tell it"
    assert short == "${KIND}, p_max ${P}, ${ARCH}"

    plain: dict[str, str | float] = {"model.arch": "fpn", "suppression.sampling": "listed", "suppression.p_max": 1}
    study, record = searched(tmp_path, SEARCHED, plain, **env)
    row, params, short = seen(study, record)
    assert (row["param.suppression.sampling.name"], row["param.model.arch"]) == ("listed", "fpn")
    assert (row["param.suppression.p_max"], params["model.arch"]) == (1.0, "fpn")
    assert short == "listed, p_max 1, fpn"
    kept = KeptStudy("1", study.resolved(), from_env=study.from_env)
    assert StudyInfo(Store(str(tmp_path), "s"), kept).shown(record) == record


def test_a_name_alone_that_came_from_a_variable_is_hidden_where_the_trial_has_a_mapping(tmp_path: Path) -> None:
    text = SEARCHED.replace('{choice: ["${KIND}", uniform, {name: listed, classes: [sand]}]}', '"${KIND}"')
    picks: dict[str, str | float] = {"model.arch": "fpn", "suppression.p_max": 1}
    study, record = searched(tmp_path, text, picks, ARCH="unet", KIND="frequency", P="0.5")
    record = replace(record, reason="frequency of classes")
    row, params, _ = seen(study, record)
    assert "frequency" not in str([row, params])
    assert (row["param.suppression.sampling.name"], row["reason"]) == ("${KIND}", "${KIND} of classes")


def test_a_class_of_ones_own_from_a_variable_is_hidden_by_its_short_name_too() -> None:
    part: JsonObject = {"name": "my_parts:Fading", "sha256": "0" * 64, "strength": 0.5}
    config: JsonObject = {"suppression": {"mechanism": part}}
    picks = {"suppression.mechanism": "Fading", "suppression.mechanism.Fading.strength": 0.5}
    record = Record(Planned("a", "search", 0, config, picks)).ended(State.FAILED, "my_parts:Fading: Fading is odd")
    for path in ("suppression.mechanism", "suppression.mechanism.name"):
        masked = shown(record, {path: "${M}"})
        assert "Fading" not in str(shown(record, {"suppression.mechanism": "${M}"}))
        assert masked.planned.config["suppression"]["mechanism"]["name"] == "${M}"  # type: ignore[index,call-overload]
        assert masked.reason == "${M}: ${M} is odd"
