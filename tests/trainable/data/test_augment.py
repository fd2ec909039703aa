import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainable.data.augment import augment_batch, augmented_batches, paste_classes
from trainable.data.classes import IGNORE_INDEX
from trainable.data.config import Augment
from trainable.data.decode import PADDING_COLOUR
from trainable.data.frames import HeldFrames

CPU = torch.device("cpu")


def labelled_batch(height: int = 32, width: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames whose colour is a function of the label, so that a misplaced label shows."""
    labels = (torch.arange(height)[:, None] // 8 * 8 + torch.arange(width) // 8).repeat(3, 1, 1).byte()
    return labels[:, None].repeat(1, 3, 1, 1), labels


def augmented(augment: Augment, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    views = list(zip(*labelled_batch(), strict=True))
    return augment_batch(views, augment, torch.Generator().manual_seed(seed), CPU)


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


def one_sided(height: int = 64, width: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
    """A frame of class 0 whose right quarter is class 1."""
    labels = torch.zeros(height, width, dtype=torch.uint8)
    labels[:, width * 3 // 4 :] = 1
    return torch.zeros(3, height, width, dtype=torch.uint8), labels


def shares(max_share: float | None) -> list[float]:
    augment = Augment(crop=(32, 64), crop_max_share=max_share)
    found = []
    for seed in range(40):
        _, labels = augment_batch([one_sided()], augment, torch.Generator().manual_seed(seed), CPU)
        found.append(float(torch.bincount(labels.flatten(), minlength=2).max()) / labels.numel())
    return found


def test_crops_of_one_class_are_drawn_again() -> None:
    free, capped = shares(None), shares(0.75)
    assert sum(share > 0.8 for share in free) > 20
    assert sum(share > 0.8 for share in capped) < 15  # ten draws do not always find one
    assert shares(0.75) == capped


def test_a_cap_that_no_crop_meets_still_ends() -> None:
    image, labels = one_sided()
    views = [(image, torch.full_like(labels, IGNORE_INDEX))]
    augment = Augment(crop=(32, 64), crop_max_share=0.5)
    assert augment_batch(views, augment, torch.Generator().manual_seed(0), CPU)[1].shape == (1, 32, 64)


def test_photometric_changes_touch_the_image_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (4, 3, 16, 16), generator=generator, dtype=torch.uint8)
    labels = torch.zeros(4, 16, 16, dtype=torch.uint8)
    views = list(zip(images, labels, strict=True))

    def changed(strength: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        found, same = augment_batch(views, Augment(photometric=strength), generator, CPU)
        assert torch.equal(same, labels)
        return found

    assert torch.equal(changed(0.5), changed(0.5))
    weak, strong = ((changed(s).int() - images.int()).abs().double().mean() for s in (0.05, 0.8))
    assert 0 < weak < strong
    assert changed(0.5).dtype == torch.uint8


def test_batches_are_those_of_the_indices_and_leave_the_frames_alone() -> None:
    images, labels = labelled_batch()
    frames = HeldFrames(images.clone(), labels.clone())
    indices = [torch.tensor([2, 0]), torch.tensor([1])]
    batches = list(augmented_batches(frames, indices, Augment(flip=True), torch.Generator().manual_seed(3), CPU))
    assert [len(batch[1]) for batch in batches] == [2, 1]
    batches[0][0].zero_()
    assert torch.equal(frames.images, images)
    assert torch.equal(frames.labels, labels)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([0.0, 0.5, 1.0]))
def test_pasted_pixels_are_of_another_image_and_of_the_classes_alone(seed: int, size: int, probability: float) -> None:
    """Whole or not at all: some other image explains each result; colours name image and place."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (size, 5, 6), generator=generator).byte()
    labels[torch.rand(size, 5, 6, generator=generator) < 0.2] = IGNORE_INDEX
    images = torch.arange(labels.numel()).byte().view(size, 1, 5, 6).expand(size, 3, 5, 6)
    found, found_labels = paste_classes((images, labels), (1, 3), probability, generator)
    unchanged = 0
    for i in range(size):
        explained = []
        for other in range(size):
            pasted = torch.isin(labels[other], torch.tensor([1, 3])) & (other != i)
            result = torch.where(pasted, images[other], images[i]), torch.where(pasted, labels[other], labels[i])
            if torch.equal(found[i], result[0]) and torch.equal(found_labels[i], result[1]):
                explained.append(other)
        assert explained
        unchanged += explained == [i]
    assert unchanged == (size if probability == 0 or size == 1 else 0) or probability == 0.5
