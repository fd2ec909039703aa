"""How whole frames are predicted, against predictions that need no averaging."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trainable.evaluate.config import Evaluation
from trainable.evaluate.predict import _starts, frame_logits
from trainable.train.engine import fit


def pixelwise(images_B3HW: Tensor) -> Tensor:
    """A network that looks at every pixel alone: windows and mirroring must not change what it says."""
    return torch.stack([images_B3HW.sum(dim=1), -images_B3HW[:, 0], images_B3HW[:, 1] ** 2], dim=1)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 64, 160, generator=torch.Generator().manual_seed(0))


def test_the_default_is_the_network_itself(images: Tensor) -> None:
    assert torch.equal(frame_logits(pixelwise, images, Evaluation()), pixelwise(images))


@pytest.mark.parametrize("window", [(32, 64), (64, 64), (32, 160), (96, 320)])
@pytest.mark.parametrize("overlap", [0.0, 1 / 3, 0.75])
def test_windows_cover_the_frame_and_average(images: Tensor, window: tuple[int, int], overlap: float) -> None:
    found = frame_logits(pixelwise, images, Evaluation(window=window, overlap=overlap))
    torch.testing.assert_close(found, pixelwise(images))


def test_a_window_is_all_the_network_sees(images: Tensor) -> None:
    seen: list[tuple[int, ...]] = []

    def network(crops: Tensor) -> Tensor:
        seen.append(tuple(crops.shape))
        return pixelwise(crops)

    frame_logits(network, images, Evaluation(window=(32, 64), overlap=0.0))
    assert seen == [(2, 3, 32, 64)] * 6


def test_where_windows_overlap_their_scores_are_averaged(images: Tensor) -> None:
    """A network whose score is its call's number: by hand, for two windows that share 32 columns."""
    calls = iter(range(10))

    def network(crops: Tensor) -> Tensor:
        return torch.full((2, 1, *crops.shape[-2:]), float(next(calls)))

    found = frame_logits(network, images[..., :96], Evaluation(window=(64, 64), overlap=0.5))
    expected = torch.cat([torch.zeros(32), torch.full((32,), 0.5), torch.ones(32)])
    torch.testing.assert_close(found[0, 0], expected.expand(64, 96))


@settings(max_examples=60, deadline=None)
@given(st.integers(32, 2048), st.integers(32, 1024), st.floats(0, 0.9))
def test_windows_reach_both_edges_without_gaps(side: int, window: int, overlap: float) -> None:
    starts = _starts(side, window, overlap)
    assert starts[0] == 0
    if window < side:
        assert starts[-1] == side - window
        steps = [b - a for a, b in pairwise(starts)]
        assert all(0 < step <= window * (1 - overlap) + 1 for step in steps)


def test_mirroring_averages_probabilities(images: Tensor) -> None:
    found = frame_logits(pixelwise, images, Evaluation(flip=True))
    torch.testing.assert_close(found, pixelwise(images).log_softmax(dim=1))
    lopsided = nn.Conv2d(3, 2, 3, padding=1)
    with torch.no_grad():
        mirrored = frame_logits(lopsided, images.flip(-1), Evaluation(flip=True)).flip(-1)
        torch.testing.assert_close(mirrored, frame_logits(lopsided, images, Evaluation(flip=True)))


def test_scales_are_predicted_at_sizes_every_network_takes(images: Tensor) -> None:
    sizes: list[tuple[int, ...]] = []

    def network(scaled: Tensor) -> Tensor:
        sizes.append(tuple(scaled.shape[-2:]))
        return pixelwise(scaled)

    found = frame_logits(network, images, Evaluation(scales=(0.5, 1.0, 1.75)))
    assert sizes == [(32, 64), (64, 160), (128, 288)]
    assert found.shape == (2, 3, 64, 160)
    torch.testing.assert_close(found.exp().sum(dim=1), torch.ones(2, 64, 160))
    flat = torch.ones(1, 3, 64, 64)
    torch.testing.assert_close(
        frame_logits(pixelwise, flat, Evaluation(scales=(0.5, 2.0))), pixelwise(flat).log_softmax(1)
    )


def test_a_trial_evaluates_as_its_section_says(make_trial) -> None:
    data = {"size": [32, 64], "augment": {"crop": [32, 32]}}
    plain, *others = (
        next(fit(make_trial(data=data, train={"epochs": 1}, evaluation=evaluation), device="cpu")).metrics
        for evaluation in ({}, {"window": [32, 32]}, {"flip": True, "scales": [1.0, 1.5]})
    )
    for metrics in others:
        assert metrics.keys() >= {"val/miou", "val/context_gap"}
        assert metrics["train/loss"] == plain["train/loss"]
        assert metrics["val/pixel_accuracy"] != plain["val/pixel_accuracy"]
