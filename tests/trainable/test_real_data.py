"""The loaders on real frames, against counts made by numpy alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainable.data import frames as frames_module
from trainable.data.config import CamVidData, CityscapesData
from trainable.data.frames import HeldFrames, PngFrames, load_splits
from trainable.data.statistics import train_statistics
from trainable.probe import probe

LABEL_TO_TRAIN = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15,
    31: 16, 32: 17, 33: 18,
}  # fmt: skip


def test_cityscapes_pixels_per_train_id(real_data) -> None:
    root: Path = real_data("cityscapes")
    data = CityscapesData(name="cityscapes", root=str(root))
    splits = load_splits(data, hold=False)
    assert (len(splits.train), len(splits.val)) == (5, 2)
    counted = np.zeros(19, dtype=int)
    for path in root.glob("gtFine/train/*/*_labelIds.png"):
        for label_id, count in zip(*np.unique(np.asarray(Image.open(path)), return_counts=True), strict=True):
            if int(label_id) in LABEL_TO_TRAIN:
                counted[LABEL_TO_TRAIN[int(label_id)]] += count
    assert splits.train.class_pixels(19).sum(axis=0).tolist() == list(counted)
    images, labels = next(iter(splits.val.batches([torch.tensor([1])])))
    assert images.shape == (1, 3, 1024, 2048)
    assert labels.shape == (1, 1024, 2048)


def test_camvid_in_memory(real_data) -> None:
    root: Path = real_data("camvid")
    data = CamVidData(name="camvid", root=str(root), size=(96, 128))
    splits = load_splits(data)
    assert isinstance(splits.train, HeldFrames)
    assert load_splits(data) is splits, "decoded once per process"
    assert (len(splits.train), len(splits.val)) == (367, 101)
    rows = ((np.arange(96) + 0.5) * 360 / 96).astype(int)
    columns = ((np.arange(128) + 0.5) * 480 / 128).astype(int)
    counted = np.zeros(256, dtype=int)
    for path in (root / "trainannot").glob("*.png"):
        counted += np.bincount(np.asarray(Image.open(path))[np.ix_(rows, columns)].ravel(), minlength=256)
    assert train_statistics(data).pixels == tuple(counted[:11])
    share = 100 * counted[:11] / counted[:11].sum()
    assert share[10] == pytest.approx(0.30, abs=0.1)  # METHOD.md: the bicyclist


def test_a_large_data_set_is_decoded_on_the_fly(real_data, monkeypatch: pytest.MonkeyPatch, make_trial) -> None:
    from trainable.engine import fit

    monkeypatch.setattr(frames_module, "HELD_BYTES", 0)
    data = {"name": "cityscapes", "root": str(real_data("cityscapes")), "size": [64, 128]}
    augment = {"scale": [0.5, 2.1], "crop": [64, 64], "flip": True}
    config = make_trial(data={**data, "augment": augment}, train={"epochs": 1, "batch_size": 2})
    assert isinstance(load_splits(config.data).train, PngFrames)
    (result,) = fit(config, device="cpu")
    assert 0 <= result.metrics["val/pixel_accuracy"] <= 1


def test_a_probe_of_camvid_decodes_a_few_frames(real_data, make_trial) -> None:
    data = {"name": "camvid", "root": str(real_data("camvid")), "size": [64, 96]}
    found = probe(make_trial(data=data, train={"batch_size": 8}), device="cpu")
    assert found.steps_per_epoch == 45
    assert found.setup_seconds > found.step_seconds > 0
    assert found.eval_seconds > 0
