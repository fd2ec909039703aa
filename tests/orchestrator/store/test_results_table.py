import shlex
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from orchestrator.store.masking import shown
from orchestrator.store.ranking import best, pareto_front
from orchestrator.store.records import Store
from orchestrator.store.results_table import table, write_best, write_table
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Objective
from trainable.__main__ import load_config
from trainable.config import TrialConfig
from trainable.configfile.mistakes import Mistake
from trainable.configfile.node import Scalar, plain
from trainable.configfile.reading import read_mapping
from trainable.suppression.config import SuppressionConfig

MIOU = Objective(metric="val/miou", mode="max")
LOSS = Objective(metric="train/loss", mode="min")
CONFIG = {
    "data": {"name": "shapes", "size": [64, 64]},
    "model": {"arch": "fpn", "encoder": "resnet18", "encoder_weights": None},
    "train": {"epochs": 2, "batch_size": 4},
    "suppression": {"p_max": 0.5},
    "seed": 11,
}


def trial(number: int, *scores: tuple[float, float], state: State = State.COMPLETE, kind: str = "search") -> Record:
    epochs = tuple({"val/miou": miou, "train/loss": loss, "epoch_seconds": 1.0} for miou, loss in scores)
    return Record(Planned(f"{kind}-{number}", kind, number, CONFIG, {}), epochs, state)  # type: ignore[arg-type]


def test_best_is_the_best_last_epoch_of_the_complete_search_trials() -> None:
    records = [
        trial(0, (0.9, 1.0), (0.2, 1.0)),  # its best epoch does not count
        trial(1, (0.1, 1.0), (0.4, 0.9)),
        trial(2, (0.8, 1.0), state=State.PRUNED),
        trial(3, (0.9, 0.1), kind="reference"),
    ]
    top = best(records, MIOU)
    assert top is not None
    assert top.key == "search-1"
    low = best(records, LOSS)
    assert low is not None
    assert low.key == "search-1"
    assert best([], MIOU) is None


def test_pareto_front() -> None:
    records = [trial(0, (0.5, 0.5)), trial(1, (0.6, 0.6)), trial(2, (0.4, 0.6)), trial(3, (0.5, 0.5))]
    assert [r.key for r in pareto_front(records, [MIOU, LOSS])] == ["search-1", "search-0", "search-3"]


def test_one_row_per_trial_and_epoch_with_settings_and_metrics(tmp_path: Path) -> None:
    plain = trial(0, (0.1, 1.0), kind="reference")
    plain.planned.config["suppression"]
    without = Record(
        Planned("reference-plain", "reference", 0, {**CONFIG, "suppression": None}, None), plain.epochs, State.COMPLETE
    )
    records = [without, trial(0, (0.1, 1.0), (0.2, 0.5)), trial(1, state=State.FAILED)]
    path = write_table(Store(str(tmp_path), "s"), records)
    rows = pq.read_table(path).to_pylist()
    assert [(row["trial"], row["state"], row["epoch"]) for row in rows] == [
        ("reference-plain", "complete", 1),
        ("search-0", "complete", 1),
        ("search-0", "complete", 2),
        ("search-1", "failed", 0),
    ]
    assert [row["param.suppression.p_max"] for row in rows] == [None, 0.5, 0.5, 0.5]
    assert [row["val/miou"] for row in rows] == [0.1, 0.1, 0.2, None]
    assert {row["seed"] for row in rows} == {11}
    assert rows[0]["param.data.size"] == "[64, 64]"
    times = [name for name in rows[0] if "second" in name]
    assert times == ["epoch_seconds"]


def test_a_column_of_mixed_types_becomes_text() -> None:
    number = trial(0, (0.1, 1.0))
    name = Record(Planned("search-1", "search", 1, {**CONFIG, "suppression": {"p_max": "a"}}, {}), number.epochs)
    assert table([number, name])["param.suppression.p_max"].to_pylist() == ["0.5", "a"]


def test_best_yaml_is_a_trial_configuration_that_says_where_it_comes_from(tmp_path: Path) -> None:
    command = write_best(Store(str(tmp_path), "s"), trial(0, (0.1, 1.0), (0.2, 0.5)), "s", MIOU, threads=2)
    path = tmp_path / "s/best.yaml"
    assert command.endswith(f" -m trainable {path} --threads 2")
    text = path.read_text()
    assert "search-0 of study s: val/miou = 0.2 after epoch 2" in text
    assert f"python -m trainable {path} --threads 2" in text
    config = TrialConfig.model_validate(yaml.safe_load(text), strict=False)
    assert config.seed == 11


def test_the_command_of_best_yaml_can_be_pasted(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "my stüdies"), "s")
    command = write_best(store, trial(0, (0.1, 1.0)), "s", MIOU, threads=2)
    assert shlex.split(command)[3:] == [str(tmp_path / "my stüdies/s/best.yaml"), "--threads", "2"]
    command = write_best(store, trial(0, (0.1, 1.0)), "s", MIOU, threads=2, ranks={"--gpus": 4})
    assert shlex.split(command)[4:] == ["--gpus", "4", "--threads", "2"]


def test_best_yaml_keeps_every_text_as_it_is(tmp_path: Path) -> None:
    record = trial(0, (0.1, 1.0))
    for text in ("/data/${USER}", "1e5", "08", "on", "é: x"):
        data = {**CONFIG["data"], "name": "camvid", "root": text}
        odd = Record(Planned("search-1", "search", 1, {**CONFIG, "data": data}, {}), record.epochs)
        write_best(Store(str(tmp_path), "s"), odd, "s", MIOU, threads=2)
        mistakes: list[Mistake] = []
        tree = plain(read_mapping(tmp_path / "s/best.yaml", "a trial", {}, mistakes, env={}))
        assert (tree, mistakes) == (odd.planned.config, [])


def test_best_yaml_of_a_trial_at_the_input_can_be_run_whatever_it_picked(tmp_path: Path) -> None:
    suppression = SuppressionConfig(layer="input", alpha=0.37, gate_norm="mean").model_dump(mode="json")
    config = {**CONFIG, "suppression": suppression, "seed": 11}
    record = Record(Planned("search-1", "search", 1, config, {}), trial(0, (0.1, 1.0)).epochs)
    write_best(Store(str(tmp_path), "s"), record, "s", MIOU, threads=2)
    assert load_config(tmp_path / "s/best.yaml").suppression == SuppressionConfig(layer="input")


def picked(number: int, picks: dict[str, Scalar] | None, **suppression: Scalar) -> Record:
    """A search trial that picked something, with what of it stands in its configuration."""
    config = {**CONFIG, "suppression": suppression}
    return Record(Planned(f"search-{number}", "search", number, config, picks), ({"val/miou": 0.1},), State.COMPLETE)


def test_picks_stand_behind_the_settings_and_change_no_other_column() -> None:
    records = [picked(0, {"suppression.p_max": 0.25, "suppression.layer": "decoder"}), trial(0, kind="reference")]
    names = table(records).column_names
    assert names[names.index("param.train.epochs") + 1 :] == [
        "pick.suppression.layer",
        "pick.suppression.p_max",
        "val/miou",
    ]
    without = [replace(r, planned=replace(r.planned, picks=None)) for r in records]
    assert table(records).drop_columns(["pick.suppression.layer", "pick.suppression.p_max"]) == table(without)


def test_what_was_not_picked_is_null_and_a_picked_null_is_not() -> None:
    rows = table(
        [
            picked(0, {"suppression.sampling": "fixed", "suppression.sampling.fixed.tau": 0.5, "weights": None}),
            picked(1, {"suppression.sampling": "uniform", "weights": "log"}),
            picked(2, None),
        ]
    )
    assert rows["pick.suppression.sampling"].to_pylist() == ["fixed", "uniform", None]
    assert rows["pick.suppression.sampling.fixed.tau"].to_pylist() == [0.5, None, None], "conditional"
    assert rows["pick.weights"].to_pylist() == ["null", "log", None]


def test_picks_from_the_environment_stand_as_written() -> None:
    picks: dict[str, Scalar] = {"model.encoder": "hidden18", "data": '{"root": "${ROOT}"}', "suppression.hidden18.x": 2}
    record = picked(0, picks, key="hidden18")
    rows = table([shown(record, {"model.encoder": "${ENCODER}", "suppression.key": "${KEY}"})]).to_pylist()
    assert rows[0]["pick.model.encoder"] == "${ENCODER}"
    assert rows[0]["pick.suppression.${KEY}.x"] == 2, "a label inside a name"
    assert "hidden18" not in str(rows)
