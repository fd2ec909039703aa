import numpy as np
import pytest
import torch

from trainable.data.classes import IGNORE_INDEX, SHAPES
from trainable.data.config import ShapesData
from trainable.data.shapes import OBJECT_CLASSES, Context
from trainable.data.shapes import make_scenes as make_arrays

DATA = ShapesData(name="shapes", train_images=200, val_images=60)
PARTNER = {2: 3, 3: 2, 4: 5, 5: 4}
OWN_CONTEXT = {"disk_rising": "meadow", "disk_falling": "sand", "square_rising": "sand", "square_falling": "meadow"}


def make_scenes(data: ShapesData, split, context: Context | float) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = make_arrays(data, split, context)
    return torch.from_numpy(images), torch.from_numpy(labels)


def test_scenes_repeat_and_depend_on_the_seed_and_the_split() -> None:
    first, again = make_scenes(DATA, "train", 0.9), make_scenes(DATA, "train", 0.9)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other = make_scenes(DATA.model_copy(update={"seed": -1}), "train", 0.9)
    assert not torch.equal(first[0], other[0])
    same_count = DATA.model_copy(update={"train_images": 60})
    assert not torch.equal(make_scenes(same_count, "train", 1.0)[0], make_scenes(DATA, "val", 1.0)[0])
    images, labels = first
    assert (images.shape, images.dtype) == ((200, 3, 64, 64), torch.uint8)
    assert (labels.shape, labels.dtype) == ((200, 64, 64), torch.uint8)


def context_shares(labels_NHW: torch.Tensor) -> dict[str, float]:
    """Share of each object class's border pixels that touch its own context."""
    labels = labels_NHW.numpy()
    shares = {}
    for name in OWN_CONTEXT:
        inside = labels == SHAPES.index(name)
        near = np.zeros_like(inside)
        for axis, step in ((1, 1), (1, -1), (2, 1), (2, -1)):
            near |= np.roll(inside, step, axis=axis)
        border = labels[near & ~inside]
        context = border[border < 2]
        shares[name] = float((context == SHAPES.index(OWN_CONTEXT[name])).mean())
    return shares


@pytest.mark.parametrize(("split", "rho"), [("train", 0.9), ("val", 1.0), ("val", 0.0)])
def test_objects_lie_in_their_own_context_with_probability_rho(split, rho: float) -> None:
    tolerance = 0.05 if rho in (0, 1) else 0.1  # an object may overlap the line by a pixel
    for share in context_shares(make_scenes(DATA, split, rho)[1]).values():
        assert share == pytest.approx(rho, abs=tolerance)


def test_swapping_the_context_only_turns_stripes() -> None:
    (aligned, labels), (swapped, swapped_labels) = (make_scenes(DATA, "val", c) for c in ("aligned", "swapped"))
    assert torch.equal(swapped_labels, torch.tensor([PARTNER.get(c, c) for c in range(6)])[labels.long()].byte())
    background = (labels < 2)[:, None].expand_as(aligned)
    assert torch.equal(aligned[background], swapped[background])
    assert not torch.equal(aligned, swapped)


def test_partners_differ_in_the_stripe_alone() -> None:
    images, labels = make_scenes(DATA.model_copy(update={"train_images": 400}), "train", 0.5)
    for rising, falling in ((2, 3), (4, 5)):
        means = [images.permute(0, 2, 3, 1)[labels == c].double().mean(dim=0) for c in (rising, falling)]
        torch.testing.assert_close(means[0], means[1], atol=1.5, rtol=0)


def test_squares_are_the_long_tail() -> None:
    pixels = torch.bincount(make_scenes(DATA, "train", 0.95)[1].flatten(), minlength=6) / (200 * 64 * 64)
    assert OBJECT_CLASSES == (2, 3, 4, 5)
    assert (pixels[:4] > 0.02).all()
    ratio = pixels.max() / pixels[4:]
    assert ratio.min() > 70
    assert ratio.max() < 140


def test_uniform_context_turns_half_of_the_stripes() -> None:
    (_, labels), (_, uniform) = (make_scenes(DATA, "val", c) for c in ("aligned", "uniform"))
    objects = labels >= 2
    assert torch.equal(objects, uniform >= 2)
    assert float((labels != uniform)[objects].double().mean()) == pytest.approx(0.5, abs=0.12)


def test_masking_hides_the_context_and_nothing_else() -> None:
    (aligned, labels), (masked, masked_labels) = (make_scenes(DATA, "val", c) for c in ("aligned", "masked"))
    objects = (labels >= 2)[:, None].expand_as(aligned)
    assert torch.equal(aligned[objects], masked[objects])
    assert torch.equal(masked_labels, torch.where(labels >= 2, labels, IGNORE_INDEX))
    assert masked[~objects].double().mean() == pytest.approx(128, abs=1)
    meadow, sand = (masked.permute(0, 2, 3, 1)[labels == c].double().mean(dim=0) for c in (0, 1))
    torch.testing.assert_close(meadow, sand, atol=0.5, rtol=0)
