import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainable.data.augment import PADDING_COLOUR, augment_batch
from trainable.data.classes import IGNORE_INDEX
from trainable.data.config import Augment


def labelled_batch(height: int = 32, width: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames whose colour is a function of the label, so that a misplaced label shows."""
    labels = (torch.arange(height)[:, None] // 8 * 8 + torch.arange(width) // 8).repeat(3, 1, 1).byte()
    return labels[:, None].repeat(1, 3, 1, 1), labels


def augmented(augment: Augment, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return augment_batch(*labelled_batch(), augment, torch.Generator().manual_seed(seed))


def test_no_augmentation_changes_nothing() -> None:
    images, labels = augmented(Augment())
    assert torch.equal(labels, labelled_batch()[1])
    assert torch.equal(images, labelled_batch()[0])


def test_flips_mirror_image_and_label_together() -> None:
    images, labels = augmented(Augment(flip=True), seed=1)
    original = labelled_batch()[1]
    flipped = [torch.equal(label, original[0].flip(-1)) for label in labels]
    assert 0 < sum(flipped) < 3
    assert torch.equal(images[:, 0], labels)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(32, 32), (64, 96), (32, 64)]), st.booleans())
def test_crops_keep_image_and_label_together(seed: int, crop: tuple[int, int], flip: bool) -> None:
    images, labels = augmented(Augment(crop=crop, flip=flip), seed)
    assert labels.shape == (3, *crop)
    assert images.shape == (3, 3, *crop)
    inside = labels != IGNORE_INDEX
    assert torch.equal(images[:, 0][inside], labels[inside])
    assert int(inside.sum()) == 3 * min(crop[0], 32) * min(crop[1], 64)
    outside = images.permute(0, 2, 3, 1)[~inside]
    assert torch.equal(outside, torch.tensor(PADDING_COLOUR).byte().expand_as(outside))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(0.5, 2.1), (0.1, 0.2), (3.0, 4.0)]))
def test_scaled_crops_agree_away_from_edges(seed: int, scale: tuple[float, float]) -> None:
    images, labels = augmented(Augment(scale=scale, crop=(32, 32)), seed)
    assert labels.shape == (3, 32, 32)
    assert (labels != IGNORE_INDEX).any()
    if scale[0] >= 3:
        agree = (images[:, 0].int() - labels.int()).abs() <= 1
        assert agree.double().mean() > 0.6


def test_augmentation_repeats_with_its_generator() -> None:
    augment = Augment(scale=(0.5, 2.0), flip=True)
    assert torch.equal(augmented(augment, 5)[0], augmented(augment, 5)[0])
    assert not torch.equal(augmented(augment, 5)[0], augmented(augment, 6)[0])
    assert augmented(augment)[1].shape == (3, 32, 64)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_the_scale_is_the_one_asked_for(scale: float) -> None:
    _, labels = augmented(Augment(scale=(scale, scale), crop=(32, 32)))
    rows = [len(label[:, 16][label[:, 16] != IGNORE_INDEX].unique()) for label in labels]
    assert rows == [4, 4, 4] if scale == 0.5 else all(2 <= n <= 3 for n in rows)
