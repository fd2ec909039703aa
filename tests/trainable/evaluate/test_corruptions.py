"""Corruptions against slow references, and what must hold of them."""

import colorsys
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX
from trainable.data.frames import HeldFrames
from trainable.evaluate.config import Corruptions
from trainable.evaluate.corruptions import BRIGHTNESS, KINDS, Kind, corrupted, corrupted_scores, fog
from trainable.evaluate.metrics.names import CORRUPTED_MIOU, corrupted_name
from trainable.train.compute import Compute

COMPUTE = Compute(torch.device("cpu"))
NUMBERS = [4, 9]


def images(seed: int = 0, size: tuple[int, int] = (32, 48)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    smooth = torch.rand(2, 3, 4, 6, generator=generator)
    smooth[0, :, 0, 0] = 0
    return (torch.nn.functional.interpolate(smooth, size) * 255).to(torch.uint8)


def as_bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def slow_noise(image: np.ndarray, number: int, severity: int) -> np.ndarray:
    drawn = torch.randn(image.shape, generator=torch.Generator().manual_seed(4 * number)).numpy()
    return image + (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1] * drawn


def slow_blur(image: np.ndarray, number: int, severity: int) -> np.ndarray:
    sigma = (1, 2, 3, 4, 6)[severity - 1] * min(image.shape[1:]) / 224
    reach = math.ceil(3 * sigma)
    weights = [math.exp(-(t**2) / (2 * sigma**2)) for t in range(-reach, reach + 1)]
    _, height, width = image.shape

    def mirrored(at: int, side: int) -> int:
        return abs(at) if at < side else 2 * (side - 1) - at

    blurred = np.zeros_like(image)
    for y, x in np.ndindex(height, width):
        for dy, down in enumerate(weights, -reach):
            for dx, across in enumerate(weights, -reach):
                blurred[:, y, x] += down * across * image[:, mirrored(y + dy, height), mirrored(x + dx, width)]
    return blurred / sum(weights) ** 2


def slow_fog(image: np.ndarray, number: int, severity: int) -> np.ndarray:
    thickness, decay = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))[severity - 1]
    generator = torch.Generator().manual_seed(4 * number + 2)
    _, height, width = image.shape
    density = np.zeros((height, width))
    octave = 1
    while 2**octave <= min(height, width):
        cells = torch.rand(2**octave + 1, 2**octave + 1, generator=generator).numpy()
        for y, x in np.ndindex(height, width):
            at_y, at_x = y / (height - 1) * 2**octave, x / (width - 1) * 2**octave
            top, left = min(int(at_y), 2**octave - 1), min(int(at_x), 2**octave - 1)
            down, across = at_y - top, at_x - left
            upper = cells[top, left] * (1 - across) + cells[top, left + 1] * across
            lower = cells[top + 1, left] * (1 - across) + cells[top + 1, left + 1] * across
            density[y, x] += (upper * (1 - down) + lower * down) / decay**octave
        octave += 1
    density = (density - density.min()) / (density.max() - density.min())
    return (image + thickness * density) * image.max() / (image.max() + thickness)


def slow_brightness(image: np.ndarray, number: int, severity: int) -> np.ndarray:
    brighter = np.zeros_like(image)
    for y, x in np.ndindex(*image.shape[1:]):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[:, y, x].tolist())
        raised = min(1.0, value + (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1])
        brighter[:, y, x] = colorsys.hsv_to_rgb(hue, saturation, raised)
    return brighter


SLOW = {"noise": slow_noise, "blur": slow_blur, "fog": slow_fog, "brightness": slow_brightness}


@pytest.mark.parametrize("severity", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_equals_the_slow_reference(kind: Kind, severity: int) -> None:
    images_B3HW = images(severity)
    ours = corrupted(images_B3HW, kind, severity, NUMBERS).numpy()
    for b, number in enumerate(NUMBERS):
        expected = as_bytes(SLOW[kind](images_B3HW[b].numpy() / 255.0, number, severity))
        assert np.abs(ours[b].astype(int) - expected).max() <= 1, "rounding alone: v + 25.5 is a tie"
    if severity > 1:  # the weakest blur is nothing in a frame of 32 pixels
        assert not np.array_equal(ours, images_B3HW.numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_is_corrupted_alike_in_any_batch_and_more_at_a_higher_severity(kind: Kind) -> None:
    images_B3HW = images(size=(64, 96))
    together = corrupted(images_B3HW, kind, 3, NUMBERS)
    assert torch.equal(together[1:], corrupted(images_B3HW[1:], kind, 3, NUMBERS[1:]))
    assert torch.equal(together, corrupted(images_B3HW, kind, 3, NUMBERS))
    changes = [
        float((corrupted(images_B3HW, kind, severity, NUMBERS).float() - images_B3HW).abs().mean())
        for severity in (2, 3, 5)
    ]
    assert 0 < changes[0] < changes[1] < changes[2]


def test_fog_and_noise_differ_between_frames() -> None:
    same_B3HW = images()[:1].expand(2, -1, -1, -1)
    for kind in ("noise", "fog"):
        one, other = corrupted(same_B3HW, kind, 3, NUMBERS)  # type: ignore[arg-type]
        assert not torch.equal(one, other)


@pytest.mark.parametrize("size", [(32, 32), (32, 160), (96, 64)])
def test_fog_reaches_from_nothing_to_all(size: tuple[int, int]) -> None:
    density_11HW = fog(size, 1.7, torch.Generator().manual_seed(0))
    assert density_11HW.shape == (1, 1, *size)
    assert (float(density_11HW.min()), float(density_11HW.max())) == (0, 1)


def test_black_becomes_grey_and_white_stays_white() -> None:
    flat = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 3, 32, 32)
    brighter = corrupted(flat, "brightness", 3, NUMBERS)
    assert brighter[0].unique().tolist() == [round(BRIGHTNESS[2] * 255)]
    assert brighter[1].unique().tolist() == [255]


def test_scores_are_those_of_the_frames_one_by_one() -> None:
    labels_NHW = torch.randint(3, (5, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    labels_NHW[:, :4] = IGNORE_INDEX
    images_N3HW = (labels_NHW % 3 * 80)[:, None].expand(-1, 3, -1, -1).contiguous()
    frames = HeldFrames(images_N3HW, labels_NHW)

    def predict(input_B3HW: Tensor) -> Tensor:
        return ((input_B3HW[:, 0] * 0.229 + 0.485) * 255 / 80).round().clamp(0, 3).long()

    scores = corrupted_scores(predict, COMPUTE, frames, 4, Corruptions(severity=1), 2)
    assert list(scores) == [*map(corrupted_name, KINDS), CORRUPTED_MIOU]
    for kind in KINDS:
        hits, unions = np.zeros(4), np.zeros(4)
        for n in range(5):
            predicted = predict(COMPUTE.network_input(corrupted(images_N3HW[n : n + 1], kind, 1, [n])))[0]
            valid = labels_NHW[n] != IGNORE_INDEX
            for c in range(4):
                is_c, said_c = (labels_NHW[n] == c) & valid, (predicted == c) & valid
                hits[c] += int((is_c & said_c).sum())
                unions[c] += int((is_c | said_c).sum())
        expected = np.mean([h / u for h, u in zip(hits, unions, strict=True) if u])
        assert scores[corrupted_name(kind)] == pytest.approx(expected)
    assert scores[CORRUPTED_MIOU] == pytest.approx(np.mean([scores[corrupted_name(kind)] for kind in KINDS]))


def test_nothing_labelled_gives_no_score() -> None:
    frames = HeldFrames(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.full((2, 32, 32), 255, dtype=torch.uint8))
    scores = corrupted_scores(lambda seen: seen[:, 0].long(), COMPUTE, frames, 3, Corruptions(), 2)
    assert scores == {}


@pytest.mark.parametrize("corruptions", [{"severity": 0}, {"severity": 6}, {"severity": 2.5}, {"kinds": ["noise"]}])
def test_mistakes(make_trial: Any, corruptions: Any) -> None:
    with pytest.raises(ValueError, match=r"evaluation\.corruptions"):
        make_trial(evaluation={"corruptions": corruptions})
