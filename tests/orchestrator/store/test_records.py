import json
from pathlib import Path

import pytest

from orchestrator.store.flat_config import flatten
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Planned, Record, State
from trainable.configfile.node import JsonObject

CONFIG: JsonObject = {"train": {"epochs": 2}, "data": {"name": "shapes"}, "seed": 7}


def planned(key: str = "search-0000", number: int = 0, kind: str = "search") -> Planned:
    return Planned(key, kind, number, CONFIG, {"p": 0.5}, {"rung": 1})  # type: ignore[arg-type]


def test_a_trial_comes_back_as_it_was_written(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "study")
    store.plan(planned())
    store.write_epochs("search-0000", 1, [{"val/miou": 0.25}, {"val/miou": 0.5}])
    record = Record(planned(), ({"val/miou": 0.25}, {"val/miou": 0.5}), State.PRUNED, "stopped early")
    store.judge(record, {"rung": 2})
    (found,) = store.records()
    assert found == Record(
        Planned("search-0000", "search", 0, CONFIG, {"p": 0.5}, {"rung": 2}),
        record.epochs,
        State.PRUNED,
        "stopped early",
    )


def test_a_trial_without_a_verdict_is_running_with_the_epochs_its_worker_kept(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "study")
    store.plan(planned())
    store.write_epochs("search-0000", 1, [{"val/miou": 0.25}])
    (found,) = store.records()
    assert found.state is State.RUNNING
    assert found.last("val/miou") == 0.25
    assert not found.state.final


def test_references_come_first_then_the_search_by_number(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "study")
    for number in (10, 2):
        store.plan(planned(f"search-{number:04d}", number))
    store.plan(planned("reference-plain", 0, "reference"))
    assert [record.key for record in store.records()] == ["reference-plain", "search-0002", "search-0010"]


def test_a_new_study_has_no_records_and_reading_creates_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "deep"), "study")
    assert store.records() == []
    assert store.read_study() is None
    assert list(tmp_path.iterdir()) == []


def test_a_directory_without_a_plan_is_no_trial(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "study")
    store.write_text("trials/stray/notes.txt", "not ours")
    assert store.records() == []


def test_files_are_replaced_as_a_whole_and_no_part_stays(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "study")
    store.write_text("a/b.json", json.dumps([1] * 1000))
    store.write_text("a/b.json", "[2]")
    assert (tmp_path / "study/a/b.json").read_text() == "[2]"
    assert [path.name for path in (tmp_path / "study/a").iterdir()] == ["b.json"]


def test_with_epoch_replaces_a_repeated_epoch() -> None:
    record = Record(planned()).with_epoch(1, {"m": 1.0}).with_epoch(2, {"m": 2.0}).with_epoch(2, {"m": 3.0})
    assert record.epochs == ({"m": 1.0}, {"m": 3.0})


@pytest.mark.parametrize(
    ("tree", "flat"),
    [
        ({"a": {"b": 1, "c": None}}, {"a.b": 1, "a.c": None}),
        ({"size": [96, 128]}, {"size": "[96, 128]"}),
        ({}, {}),
    ],
)
def test_flatten(tree: dict[str, object], flat: dict[str, object]) -> None:
    assert flatten(tree) == flat
