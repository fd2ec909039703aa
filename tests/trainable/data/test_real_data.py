"""The loaders on real frames, against counts made by numpy alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainable.data.config import CamVidData, CityscapesData
from trainable.data.frames import MappedFrames, load_splits
from trainable.data.statistics import train_statistics
from trainable.train.probe import probe

LABEL_TO_TRAIN = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15,
    31: 16, 32: 17, 33: 18,
}  # fmt: skip


def test_cityscapes_pixels_per_train_id(real_data) -> None:
    root: Path = real_data("cityscapes")
    data = CityscapesData(name="cityscapes", root=str(root))
    splits = load_splits(data)
    assert (len(splits.train), len(splits.val)) == (5, 2)
    for split, frames in (("train", splits.train), ("val", splits.val)):
        counted = np.zeros(19, dtype=int)
        for path in root.glob(f"gtFine/{split}/*/*_labelIds.png"):
            for label_id, count in zip(*np.unique(np.asarray(Image.open(path)), return_counts=True), strict=True):
                if int(label_id) in LABEL_TO_TRAIN:
                    counted[LABEL_TO_TRAIN[int(label_id)]] += count
        assert frames.class_pixels(19).sum(axis=0).tolist() == list(counted)
    ((images, labels),) = splits.val.batches([torch.tensor([1])])
    last = sorted(root.glob("leftImg8bit/val/*/*.png"))[1]
    assert torch.equal(images[0], torch.from_numpy(np.array(Image.open(last)).transpose(2, 0, 1)))
    assert labels.shape == (1, 1024, 2048)


def test_camvid_pixels_per_class(real_data) -> None:
    root: Path = real_data("camvid")
    data = CamVidData(name="camvid", root=str(root), size=(96, 128))
    splits = load_splits(data)
    assert isinstance(splits.train, MappedFrames)
    assert load_splits(data) is splits, "opened once per process"
    assert (len(splits.train), len(splits.val)) == (367, 101)
    rows = ((np.arange(96) + 0.5) * 360 / 96).astype(int)
    columns = ((np.arange(128) + 0.5) * 480 / 128).astype(int)
    for split, frames in (("train", splits.train), ("val", splits.val)):
        counted = np.zeros(256, dtype=int)
        for path in (root / f"{split}annot").glob("*.png"):
            counted += np.bincount(np.asarray(Image.open(path))[np.ix_(rows, columns)].ravel(), minlength=256)
        assert frames.class_pixels(11).sum(axis=0).tolist() == counted[:11].tolist()
    share = 100 * np.array(train_statistics(data).pixels) / sum(train_statistics(data).pixels)
    assert share[10] == pytest.approx(0.30, abs=0.1)  # METHOD.md: the bicyclist


def test_a_trial_trains_on_crops_of_large_frames(real_data, make_trial) -> None:
    from trainable.train.engine import fit

    data = {"name": "cityscapes", "root": str(real_data("cityscapes")), "size": [64, 128]}
    augment = {"scale": [0.5, 2.1], "crop": [64, 64], "crop_max_share": 0.75, "flip": True, "photometric": 0.4}
    config = make_trial(data={**data, "augment": augment}, train={"epochs": 1, "batch_size": 2})
    (result,) = fit(config, device="cpu")
    assert 0 <= result.metrics["val/pixel_accuracy"] <= 1


def test_a_probe_of_camvid_decodes_a_few_frames(real_data, make_trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainable.data.cache.write_cache", None)  # a dry run writes nothing
    data = {"name": "camvid", "root": str(real_data("camvid")), "size": [64, 96]}
    found = probe(make_trial(data=data, train={"batch_size": 8}), device="cpu")
    assert found.steps_per_epoch == 45
    assert min(found.cache_seconds, found.step_seconds, found.setup_seconds, found.eval_seconds) > 0
