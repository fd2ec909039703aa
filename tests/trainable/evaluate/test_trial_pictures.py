"""Pictures of a trial: which frames they show, that they show them rightly, and that they change nothing."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainable.config import TrialConfig
from trainable.data.classes import CAMVID, IGNORE_INDEX, ClassMap, class_map, class_names
from trainable.data.frames import load_splits
from trainable.data.strip import CELL_WIDTH, GAP, LINE, MAX_WHOLE_LEGEND, coloured, draw_strip
from trainable.evaluate.metrics.confusion import class_ious, confusion_matrix, mean_iou
from trainable.evaluate.metrics.names import ECE, MIOU
from trainable.evaluate.trial_pictures import FRAMES, telling_frames
from trainable.train.engine import EpochResult, fit

SUPPRESSION = {"gate_norm": "mean", "alpha": 1.0, "sampling": {"name": "difficulty", "tau": 1.0}}
THREE = ClassMap(("road", "sky", "cone"), (0, 1, 2), frozenset({9}), ((128, 64, 128), (70, 130, 180), (255, 140, 0)))


def run(config: TrialConfig, look: bool) -> list[EpochResult]:
    results = []
    for result in fit(config, device="cpu", threads=1):
        if look:
            assert result.pictures().keys() == {"validation"}
            assert result.gradcam() is not None
            assert result.weight_cosines().shape == (6, 6)
        results.append(result)
    return results


def numbers(results: list[EpochResult]) -> list[dict[str, float]]:
    return [{k: v for k, v in result.metrics.items() if not k.endswith("_seconds")} for result in results]


def test_looking_changes_no_later_epoch(make_trial) -> None:
    config = make_trial(
        model={"arch": "deeplabv3plus"},  # it has dropout
        data={"augment": {"scale": [0.5, 2.0], "flip": True}},
        train={"epochs": 3},
        suppression=SUPPRESSION,
    )
    looked, plain = run(config, look=True), run(config, look=False)
    assert numbers(looked) == numbers(plain)
    one, other = (results[-1].training.model.state_dict() for results in (looked, plain))
    assert all(torch.equal(value, other[name]) for name, value in one.items() if isinstance(value, torch.Tensor))


def test_pictures_repeat_and_change_with_the_weights(make_trial) -> None:
    config = make_trial(train={"epochs": 2, "lr": 0.02})
    drawn = [result.pictures()["validation"] for result in fit(config, device="cpu", threads=1)]
    again = [result.pictures()["validation"] for result in fit(config, device="cpu", threads=1)]
    assert drawn == again
    assert drawn[0] != drawn[1]


def test_the_confusion_matrix_is_that_of_the_metrics(make_trial) -> None:
    config = make_trial()
    for result in fit(config, device="cpu", threads=1):
        classes = len(class_names(config.data))
        assert result.confusion.shape == (classes, classes)
        assert int(result.confusion.sum()) == 6 * 32 * 32
        assert mean_iou(class_ious(result.confusion), range(classes)) == result.metrics[MIOU]
        assert result.calibration is not None
        pixels_M, right_M, confidence_M = result.calibration.T
        assert int(pixels_M.sum()) == int(result.confusion.sum())
        assert int(right_M.sum()) == int(result.confusion.diagonal().sum())
        error = float((right_M - confidence_M).abs().sum() / pixels_M.sum())
        assert error == pytest.approx(result.metrics[ECE], abs=1e-12), "the diagram is of the error that is reported"


def test_the_strip_shows_what_the_model_predicts(make_trial) -> None:
    """The picture's third column against the model's own answer, and so the frames against the confusion matrix."""
    config = make_trial(data={"val_images": 3, "size": [64, 64]}, train={"epochs": 1})
    (result,) = fit(config, device="cpu", threads=1)
    strip = np.asarray(Image.open(io.BytesIO(result.pictures()["validation"])))
    frames = load_splits(config.data).val
    factor = CELL_WIDTH // 64
    side = factor * 64
    colours = np.array(class_map(config.data).colours)
    predicted = []
    for row in range(3):
        top = LINE + GAP + row * (side + GAP) + factor // 2
        columns = [GAP + column * (side + GAP) + factor // 2 for column in range(3)]
        image, truth, prediction = (
            strip[top : top + side : factor, left : left + side : factor][:64, :64] for left in columns
        )
        np.testing.assert_array_equal(image, frames.views(torch.tensor([row]))[0][0].permute(1, 2, 0).numpy())
        label_HW = frames.views(torch.tensor([row]))[0][1].numpy()
        np.testing.assert_array_equal(truth, colours[label_HW])
        predicted.append((prediction[:, :, None, :] == colours).all(axis=-1).argmax(axis=-1))
    labels = torch.stack([frames.views(torch.tensor([row]))[0][1] for row in range(3)])
    found = confusion_matrix(labels, torch.from_numpy(np.stack(predicted)), len(colours))
    assert torch.equal(found, result.confusion)


def test_frames_with_rare_classes_are_chosen() -> None:
    pixels_NC = np.full((50, 3), (900, 100, 0))
    pixels_NC[17] = (890, 100, 10)
    pixels_NC[31] = (100, 900, 0)
    pixels_NC[40] = (895, 100, 5)
    assert 17 in telling_frames(pixels_NC, 2), "the frame with most of the rare class"
    assert set(telling_frames(pixels_NC, 3)) >= {17, 31}, "and one in which a common class is seen best"


@pytest.mark.parametrize("frames", [1, 2, FRAMES, 9])
def test_frames_are_distinct_in_order_and_as_many_as_there_are(frames: int) -> None:
    for pixels_NC in (np.ones((frames, 4)), np.zeros((frames, 4)), np.eye(frames, 4)):
        chosen = telling_frames(pixels_NC.astype(np.int64), FRAMES)
        assert chosen == sorted(set(chosen))
        assert len(chosen) == min(FRAMES, frames)
        assert chosen == telling_frames(pixels_NC.astype(np.int64), FRAMES)


def test_no_rare_class_of_camvid_is_left_out(real_data: Callable[[str], Path], make_trial) -> None:
    config = make_trial(data={"name": "camvid", "root": str(real_data("camvid")), "size": [96, 128]})
    counts_NC = load_splits(config.data).val.class_pixels(len(CAMVID))
    chosen = telling_frames(counts_NC, FRAMES)
    for c in (2, 6, 7, 9, 10):  # pole, sign, fence, pedestrian, bicyclist
        assert counts_NC[chosen, c].max() >= 0.5 * counts_NC[:, c].max(), CAMVID[c]


def strip_of(classes: ClassMap, height: int, width: int, label: int = 0) -> np.ndarray:
    images = np.full((2, 3, height, width), 90, dtype=np.uint8)
    labels = np.full((2, height, width), label, dtype=np.uint8)
    png = draw_strip(images, labels, labels, classes, rare=(2,))
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 128), (360, 480), (1024, 2048), (64, 288), (64, 320)])
def test_a_strip_is_as_wide_whatever_the_size_of_the_frames(height: int, width: int) -> None:
    shape = strip_of(THREE, height, width).shape
    assert 3 * 145 < shape[1] <= 3 * (CELL_WIDTH + GAP) + GAP
    assert shape[0] < 2 * CELL_WIDTH * height / width + 120


def test_ignored_pixels_are_white_and_the_legend_says_so() -> None:
    label_HW = np.array([[0, IGNORE_INDEX]], dtype=np.uint8)
    assert coloured(label_HW, THREE).tolist() == [[[128, 64, 128], [255, 255, 255]]]
    with_ignored, without = (strip_of(THREE, 32, 32, label) for label in (IGNORE_INDEX, 0))
    bottom = slice(-LINE - GAP, None)
    assert (with_ignored[bottom] < 200).sum() > (without[bottom] < 200).sum()


def test_the_legend_of_many_classes_has_those_that_are_seen() -> None:
    count = 150
    colours = tuple((c, 255 - c, 7) for c in range(count))
    many = ClassMap(tuple(f"class {c}" for c in range(count)), tuple(range(count)), frozenset(), colours)
    assert count > MAX_WHOLE_LEGEND
    strip = strip_of(many, 32, 32, label=140)
    legend = strip[LINE + GAP + 2 * (CELL_WIDTH + GAP) :].reshape(-1, 3)
    assert (legend == colours[140]).all(axis=1).any()
    assert not (legend == colours[30]).all(axis=1).any()
