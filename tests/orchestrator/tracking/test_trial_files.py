"""What a trial leaves to look at: kept by its worker, shown by MLflow; nothing of it decides anything."""

import csv
import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from orchestrator.plan.planner import Planner
from orchestrator.store.artifacts import (
    Confusion,
    ContextReliance,
    WeightCosines,
    read_confusion,
    read_picture,
    read_reliance,
    read_weight_cosines,
)
from orchestrator.store.objects import Objects
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Study, load
from orchestrator.studyfile.space.trees import acting
from orchestrator.tracking.matrix_pictures import DPI, draw_confusion, draw_reliance, draw_weight_cosines
from orchestrator.tracking.trial_files import write_trial_files
from orchestrator.worker.attempt import Attempt, StorageFailed
from orchestrator.worker.job import Job
from trainable.__main__ import load_config
from trainable.config import TrialConfig, read_trial
from trainable.data.classes import SHAPES
from trainable.evaluate.metrics.names import iou_name

REAL = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes, size: [32, 32], train_images: 8, val_images: 4}
model: {arch: linknet, encoder: tu-test_resnet, encoder_weights: null}
train: {epochs: 3, batch_size: 4, lr: 6.0e-3}
suppression: {p_max: 0.7}
evaluation: {context: {frames: 2}}
search: {trials: 1, references: []}
"""
FIRST, LAST, GRADCAM = "validation_first.png", "validation_last.png", "gradcam_last.png"
CONFUSION, COSINES, CONTEXT = "confusion.json", "weight_cosine.json", "context.json"
KEPT = [CONFUSION, CONTEXT, GRADCAM, FIRST, LAST, COSINES]


@dataclass(frozen=True)
class Looked:
    """A result that can be looked at; counts how often."""

    epoch: int
    drawn: list[int]
    broken: bool = False

    @property
    def metrics(self) -> dict[str, float]:
        return {"val/miou": self.epoch / 10, iou_name("meadow"): 0.5, iou_name("sand"): 0.25}

    @property
    def confusion(self) -> torch.Tensor:
        if self.broken:
            raise RuntimeError("no matrix today")
        return torch.arange(36).reshape(6, 6) * self.epoch

    @property
    def rare(self) -> tuple[int, ...]:
        return (4, 5)

    @property
    def reliance(self) -> torch.Tensor:
        if self.broken:
            raise RuntimeError("no frames today")
        reliance_CC = torch.full((6, 6), 0.25, dtype=torch.float64)
        return reliance_CC.fill_diagonal_(math.nan)

    def state(self) -> dict[str, Any]:
        return {"epoch": self.epoch}

    def pictures(self) -> dict[str, bytes]:
        self.drawn.append(self.epoch)
        if self.broken:
            raise RuntimeError("no picture today")
        return {"validation": f"after {self.epoch}".encode()}

    def gradcam(self) -> bytes:
        if self.broken:
            raise RuntimeError("no map today")
        return b"maps"

    def weight_cosines(self) -> torch.Tensor:
        if self.broken:
            raise RuntimeError("no weights today")
        return torch.eye(6).double() * 0.99999999


drawn: list[int] = []


def seen(config: TrialConfig, *, threads: int, resume_from: Any = None, broken: bool = False) -> Iterator[Looked]:
    start = resume_from["epoch"] if resume_from else 0
    for epoch in range(start + 1, config.train.epochs + 1):
        yield Looked(epoch, drawn, broken)


def unseen(config: TrialConfig, *, threads: int, resume_from: Any = None) -> Iterator[Looked]:
    yield from seen(config, threads=threads, resume_from=resume_from, broken=True)


@pytest.fixture(autouse=True)
def _engines(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn.clear()
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setitem(sys.modules, "looking", sys.modules[__name__])


@pytest.fixture
def real(tmp_path: Path) -> Study:
    (tmp_path / "s.yaml").write_text(REAL)
    return load(tmp_path / "s.yaml", env={})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "out"), "s")


@pytest.fixture
def planned(real: Study, store: Store) -> Planned:
    found = Planner(real).next()
    assert found is not None
    store.plan(found)
    return found


def attempt_at(planned: Planned, store: Store, fit: str) -> Attempt:
    return Attempt(Job(planned, store.storage, store.study, "x", fit))


def run(planned: Planned, store: Store, fit: str, epochs: int = 3) -> None:
    attempt = attempt_at(planned, store, fit)
    for _ in range(epochs):
        attempt.next_epoch()
    attempt.close()


def kept(store: Store, key: str) -> list[str]:
    return store.objects.names(f"trials/{key}/artifacts")


def files_of(record: Record, store: Store, folder: Path, from_env: Mapping[str, str] | None = None) -> set[str]:
    folder.mkdir(exist_ok=True)
    write_trial_files(record, store, folder, from_env or {})
    return {path.name for path in folder.iterdir()}


def test_a_worker_keeps_the_first_and_the_last_epoch(planned: Planned, store: Store) -> None:
    attempt = attempt_at(planned, store, "looking:seen")
    attempt.next_epoch()
    attempt._flush()
    assert kept(store, planned.key) == [FIRST]
    attempt.next_epoch()
    attempt.next_epoch()
    assert kept(store, planned.key) == KEPT, "there before the driver hears of the last epoch"
    attempt.close()
    assert drawn == [1, 3], "an epoch in between costs nothing"
    assert read_picture(store.objects, planned.key, FIRST) == b"after 1"
    assert read_picture(store.objects, planned.key, LAST) == b"after 3"
    confusion = read_confusion(store.objects, planned.key)
    assert confusion is not None
    assert (confusion.epoch, confusion.classes, confusion.rare) == (3, SHAPES, (4, 5))
    assert confusion.matrix[1] == tuple(range(18, 36, 3))
    reliance = read_reliance(store.objects, planned.key)
    assert reliance is not None
    assert (reliance.epoch, reliance.classes, reliance.rare) == (3, SHAPES, (4, 5))
    assert reliance.matrix[1] == (0.25, None, 0.25, 0.25, 0.25, 0.25)
    cosines = read_weight_cosines(store.objects, planned.key)
    assert cosines == WeightCosines(3, SHAPES, (4, 5), tuple(map(tuple, np.eye(6).tolist())))


def test_a_trial_that_continues_draws_nothing_twice(planned: Planned, store: Store) -> None:
    run(planned, store, "looking:seen", epochs=2)
    run(planned, store, "looking:seen", epochs=1)
    assert drawn == [1, 3]
    assert kept(store, planned.key) == KEPT


def test_a_trial_of_one_epoch_has_its_last(planned: Planned, store: Store) -> None:
    short = replace(planned, config={**planned.config, "train": {**planned.config["train"], "epochs": 1}})
    run(short, store, "looking:seen", epochs=1)
    assert kept(store, planned.key) == [CONFUSION, CONTEXT, GRADCAM, LAST, COSINES]


def test_what_cannot_be_drawn_is_a_line_in_the_log(planned: Planned, store: Store) -> None:
    run(planned, store, "looking:unseen")
    (record,) = store.records()
    assert record.whole
    assert kept(store, planned.key) == []
    log = (store.objects.read(f"trials/{planned.key}/log-1.txt") or b"").decode()
    assert "epoch 1: no pictures: RuntimeError: no picture today" in log
    assert "epoch 3: no confusion matrix: RuntimeError: no matrix today" in log
    assert "epoch 3: no Grad-CAM maps: RuntimeError: no map today" in log
    assert "epoch 3: no cosines of the weights: RuntimeError: no weights today" in log
    assert "epoch 3: no matrix of reliance on context: RuntimeError: no frames today" in log


def test_an_engine_that_shows_nothing_leaves_nothing(planned: Planned, store: Store) -> None:
    run(planned, store, "fake_fit:fit")
    assert kept(store, planned.key) == []


@pytest.mark.parametrize("part", [FIRST, CONFUSION])
def test_a_storage_that_does_not_take_it_interrupts_the_trial(
    planned: Planned, store: Store, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    whole = Objects.write

    def write(self: Objects, name: str, *parts: bytes, flush: bool = True) -> None:
        if part in name:
            raise OSError(28, "No space left on device")
        whole(self, name, *parts, flush=flush)

    with monkeypatch.context() as patched:
        patched.setattr(Objects, "write", write)
        attempt = attempt_at(planned, store, "looking:seen")
        with pytest.raises(StorageFailed, match="No space left"):
            [attempt.next_epoch() for _ in range(3)]
        attempt._writer.shutdown()
    again = attempt_at(planned, store, "looking:seen")
    done = len(again.began.earlier)
    assert done == (0 if part == FIRST else 2)
    for _ in range(3 - done):
        again.next_epoch()
    again.close()
    assert kept(store, planned.key) == KEPT


def test_what_a_killed_write_left_is_removed(planned: Planned, store: Store, tmp_path: Path) -> None:
    run(planned, store, "looking:seen", epochs=1)
    folder = tmp_path / "out/s/trials" / planned.key / "artifacts"
    (folder / f".{FIRST}.0123").write_bytes(b"half")
    run(planned, store, "looking:seen", epochs=1)
    assert [path.name for path in folder.iterdir()] == [FIRST]


def test_damaged_artifacts_disturb_nobody(planned: Planned, store: Store, tmp_path: Path) -> None:
    run(planned, store, "looking:seen")
    folder = tmp_path / "out/s/trials" / planned.key / "artifacts"
    before = store.records()
    path = folder / CONFUSION
    path.write_text(path.read_text().replace("108", "109", 1))
    assert read_confusion(store.objects, planned.key) is None
    (folder / COSINES).write_text('{"sha256": "0"}')
    assert read_weight_cosines(store.objects, planned.key) is None
    (folder / CONTEXT).write_text("")
    assert read_reliance(store.objects, planned.key) is None
    after = Store(store.storage, "s")
    assert (after.records(), after.warnings) == (before, [])


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Record]:
    """A real trial that came to its end."""
    folder = tmp_path_factory.mktemp("complete")
    (folder / "s.yaml").write_text(REAL)
    store = Store(str(folder / "out"), "s")
    planned = Planner(load(folder / "s.yaml", env={})).next()
    assert planned is not None
    store.plan(planned)
    run(planned, store, "trainable.train.engine:fit")
    (record,) = store.records()
    record = record.ended(State.COMPLETE)
    store.judge(record, {})
    return store, record


MATRICES = ("confusion.png", "weight_cosine.png", "context.png")
ALL = {"config.yaml", "class_iou.csv", *MATRICES, GRADCAM, FIRST, LAST, "log-1.txt"}


def test_a_complete_trial_shows_everything(complete: tuple[Store, Record], tmp_path: Path) -> None:
    store, record = complete
    assert files_of(record, store, tmp_path) == ALL
    for name in (*MATRICES, FIRST, LAST):
        assert Image.open(tmp_path / name).size > (400, 200)
    confusion = read_confusion(store.objects, record.key)
    assert confusion is not None
    with (tmp_path / "class_iou.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["class"] for row in rows] == list(SHAPES)
    matrix_CC = np.array(confusion.matrix)
    for c, row in enumerate(rows):
        value = record.epochs[-1].get(iou_name(row["class"]))
        assert row["iou"] == ("" if value is None else str(value))
        assert int(row["pixels"]) == matrix_CC[c].sum()
        if row["recall"]:
            assert float(row["recall"]) == matrix_CC[c, c] / matrix_CC[c].sum()
        if row["precision"]:
            assert float(row["precision"]) == matrix_CC[c, c] / matrix_CC[:, c].sum()
        assert row["rare"] == ("rare" if c in confusion.rare else "")
    assert (tmp_path / "log-1.txt").read_text().count("epoch ") >= 3


@pytest.mark.integration
def test_the_configuration_runs_alone(complete: tuple[Store, Record], tmp_path: Path) -> None:
    store, record = complete
    files_of(record, store, tmp_path)
    command = [sys.executable, "-m", "trainable", "config.yaml", "--threads", "1", "--set", "train.epochs=1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/1" in done.stdout
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == record.planned.config


def test_the_configuration_of_a_trial_that_only_erases_is_read_alone(
    complete: tuple[Store, Record], tmp_path: Path
) -> None:
    """What has no effect in it, and may be searched for others, would be refused."""
    store, record = complete
    config = json.loads(read_trial(record.planned.config | {"preset": "erase"}).model_dump_json())
    assert "alpha" in config["suppression"]
    files_of(replace(record, planned=replace(record.planned, config=config)), store, tmp_path)
    assert acting(load_config(tmp_path / "config.yaml")) == acting(read_trial(config)), "trains alike"


def test_a_value_of_the_environment_is_nowhere(complete: tuple[Store, Record], tmp_path: Path) -> None:
    _, record = complete
    secret = "/home/somebody/data"
    config = {**record.planned.config, "data": {**record.planned.config["data"], "root": secret}}
    other = Store(str(tmp_path / "out"), "s")
    other.write_text(f"trials/{record.key}/log-1.txt", f"reads {secret}/train, twice\n")
    other.write_text(f"trials/{record.key}/traceback.txt", f"DataError: {secret}: no such folder\n")
    hidden = replace(record, planned=replace(record.planned, config=config)).ended(State.FAILED, "why")
    files_of(hidden, other, tmp_path / "shown", from_env={"data.root": "${DATA}", "model.arch": "${A}"})
    texts = {path.name: path.read_text() for path in (tmp_path / "shown").iterdir()}
    assert all(secret not in text for text in texts.values())
    assert texts["log-1.txt"] == "reads ${DATA}/train, twice\n"
    assert texts["traceback.txt"] == "DataError: ${DATA}: no such folder\n"
    assert "--set 'data.root=${DATA}'" in texts["config.yaml"].splitlines()[0]
    assert yaml.safe_load(texts["config.yaml"])["data"]["root"] == "${DATA}"
    assert hidden.planned.config["data"]["root"] == secret, "the record is as it was"


def test_a_trial_shows_what_it_has(complete: tuple[Store, Record], tmp_path: Path) -> None:
    _, record = complete
    bare = Store(str(tmp_path / "out"), "s")
    imported = replace(record, planned=replace(record.planned, key="imported-0000", kind="imported"))
    assert files_of(imported, bare, tmp_path / "imported") == {"config.yaml", "class_iou.csv"}
    failed = Record(record.planned).ended(State.FAILED, "why")
    bare.write_text(f"trials/{record.key}/traceback.txt", "Traceback: here\n")
    assert files_of(failed, bare, tmp_path / "failed") == {"config.yaml", "traceback.txt"}
    assert "traceback.txt" not in files_of(record, bare, tmp_path / "again"), "of an earlier attempt that failed"


def test_a_pruned_trial_shows_its_first_epoch(planned: Planned, store: Store, tmp_path: Path) -> None:
    run(planned, store, "looking:seen", epochs=2)
    (record,) = store.records()
    pruned = record.ended(State.PRUNED, "stopped early")
    assert files_of(pruned, store, tmp_path / "shown") == {"config.yaml", "class_iou.csv", FIRST, "log-1.txt"}
    lines = (tmp_path / "shown/class_iou.csv").read_text().split()
    assert lines == ["class,iou", "meadow,0.5", "sand,0.25"]


def matrix(classes: int, name: str = "class {}") -> Confusion:
    draw = np.random.default_rng(0)
    values = draw.integers(0, 20, (classes, classes)) + np.diag(draw.integers(500, 3000, classes))
    values[0] = 0
    rows = tuple(tuple(row) for row in values.tolist())
    return Confusion(3, tuple(name.format(c) for c in range(classes)), (classes - 1,), rows)


@pytest.mark.parametrize("classes", [2, 11, 26, 61, 150])
def test_a_matrix_is_drawn_large_enough_and_not_too_large(classes: int, tmp_path: Path) -> None:
    confusion = matrix(classes)
    draw_confusion(confusion, "t", tmp_path / "c.png")
    width, height = Image.open(tmp_path / "c.png").size
    assert classes * 0.09 * DPI < min(width, height)
    assert max(width, height, 400) <= 2300
    rows = tuple(map(tuple, np.eye(classes).tolist()))
    draw_weight_cosines(WeightCosines(3, confusion.classes, confusion.rare, rows), "t", tmp_path / "w.png")
    assert Image.open(tmp_path / "w.png").size == (width, height)
    lost = tuple(tuple(None if c == row else 0.5 for c in range(classes)) for row in range(classes))
    draw_reliance(ContextReliance(3, confusion.classes, confusion.rare, lost), "t", tmp_path / "r.png")
    assert Image.open(tmp_path / "r.png").size == (width, height)


def test_the_cells_are_the_shares_of_the_rows(tmp_path: Path) -> None:
    """Darkness of the pixels in the middle of two cells against the same share in another matrix."""
    rows = ((900, 100), (0, 4))
    draw_confusion(Confusion(1, ("a", "b"), (), rows), "t", tmp_path / "one.png")
    draw_confusion(Confusion(1, ("a", "b"), (), ((9, 1), (0, 700))), "t", tmp_path / "other.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
    draw_confusion(Confusion(1, ("a", "b"), (), ((9, 3), (0, 700))), "t", tmp_path / "other.png")
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "other.png").read_bytes()


def test_names_are_no_formulas_and_long_ones_are_cut(tmp_path: Path) -> None:
    for name in ("$x_{} ^", "€ $", "a name that goes on for longer than any label should, number {}"):
        draw_confusion(matrix(3, name), "$t$ $", tmp_path / "c.png")
        assert max(Image.open(tmp_path / "c.png").size) < 900


def test_pictures_are_drawn_in_several_threads_at_once(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.png" for n in range(4)]
    threads = [Thread(target=draw_confusion, args=(matrix(8), "t", path)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({path.read_bytes() for path in paths}) == 1


def test_neither_mlflow_nor_the_state_of_pyplot_is_imported() -> None:
    code = (
        "import sys, orchestrator.tracking.trial_files;"
        "sys.exit(bool({'mlflow', 'matplotlib.pyplot'} & sys.modules.keys()))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def test_a_picture_of_a_real_trial_is_a_png(complete: tuple[Store, Record]) -> None:
    store, record = complete
    pictures = [read_picture(store.objects, record.key, name) or b"" for name in (FIRST, LAST)]
    assert pictures[0] != pictures[1]
    assert all(Image.open(io.BytesIO(content)).format == "PNG" for content in pictures)
