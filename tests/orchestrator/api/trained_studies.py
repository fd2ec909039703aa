"""Studies whose one trial was really trained: on a handful of scenes or pictures, without Ray, in a second or two."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from orchestrator.store.artifacts import Confusion, keep_artifacts
from orchestrator.store.layout import CheckpointName
from orchestrator.store.records import Store
from orchestrator.store.results_table import write_table
from orchestrator.store.trial_record import Checkpoint, Planned, Record, State
from orchestrator.studyfile import load
from trainable.data.classes import class_names
from trainable.train.checkpoint import to_bytes
from trainable.train.engine import fit

FILE = """
study: trained
objective: {metric: val/miou, mode: max}
data: {name: shapes, train_images: 20, val_images: 6}
model: {arch: linknet, encoder: tu-test_resnet, encoder_weights: null}
train: {epochs: 2, batch_size: 10, lr: 6.0e-3}
suppression: {p_max: {uniform: [0.0, 1.0]}, layer: decoder, gate_norm: mean, recalibrate: true, alpha: 0.3}
search: {sampler: random, trials: 2}
tracking: {enabled: false}
"""
SIZES = ((64, 96), (96, 48), (50, 70), (200, 120))
"""(height, width) of the pictures of a folder."""


def trained_study(folder: Path, *overrides: str, env: Mapping[str, str] | None = None) -> Store:
    """A study with a trained trial ``search-0000``, and ``search-0001`` without weights."""
    path = folder / "trained.yaml"
    path.write_text(FILE)
    study = load(path, overrides, env=env or {})
    store = Store(str(folder / "studies"), study.spec.study)
    store.write_study(study.resolved(), from_env=study.from_env)
    records = []
    for number in range(2):
        trial = study.space.trial(study.space.center(), seed=number)
        picks = {"suppression.p_max": 0.5}
        planned = Planned(f"search-{number:04d}", "search", number, trial.model_dump(mode="json"), picks)
        store.plan(planned)
        if number == 0:
            records.append(_train(store, planned, trial))
        else:
            worse = tuple({**metrics, "val/miou": 0.0} for metrics in records[0].epochs)
            records.append(Record(planned, worse, State.COMPLETE))
        store.judge(records[-1], {})
    write_table(store, records)
    return store


def _train(store: Store, planned: Planned, trial: Any) -> Record:
    epochs: list[dict[str, float]] = []
    for result in fit(trial, device="cpu", threads=1):
        epochs.append(result.metrics)
        state = to_bytes(result.state())
        store.write_checkpoint(CheckpointName(1, result.epoch), Checkpoint(planned, tuple(epochs), state))
        rows = tuple(map(tuple, result.confusion.tolist()))
        confusion = Confusion(result.epoch, class_names(trial.data), tuple(result.rare), rows)
    keep_artifacts(store.objects, planned.key, {}, confusion)
    return Record(planned, tuple(epochs), State.COMPLETE)


def folder_data(root: Path) -> list[str]:
    """Pictures of several sizes with masks, one of them turned by EXIF, one of 16 bits; ``--set`` options for them."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for number, (height, width) in enumerate(SIZES):
            label = (rng.random((height // 10 + 1, width // 10 + 1)) > 0.5).repeat(10, 0).repeat(10, 1)[:height, :width]
            pixels = rng.integers(0, 80, (height, width, 3)) + 120 * label[..., None]
            image, mask = (root / kind / split / f"p{number}.png" for kind in ("images", "masks"))
            for path in (image, mask):
                path.parent.mkdir(parents=True, exist_ok=True)
            if number == 2:  # gray, 16 bits
                Image.fromarray(pixels[..., 0].astype(np.uint16) << 8).save(image)
            elif number == 3:
                turned = Image.fromarray(pixels.astype(np.uint8)).transpose(Image.Transpose.ROTATE_90)
                exif = Image.Exif()
                exif[0x0112] = 6  # a quarter turn clockwise makes it upright
                turned.save(image.with_suffix(".jpg"), exif=exif, quality=95)
            else:
                Image.fromarray(pixels.astype(np.uint8)).save(image)
            Image.fromarray(label.astype(np.uint8)).save(mask)
    (root / "classes.yaml").write_text("classes: [{name: ground, id: 0}, {name: thing, id: 1}]\n")
    data = f"data={{name: folder, root: {root}, size: [64, 96]}}"
    return [data, "train.batch_size=2"]
