"""IoU per image against loops over images and classes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainable.data.classes import IGNORE_INDEX
from trainable.evaluate.metrics.confusion import confusion_matrix, image_confusions
from trainable.evaluate.metrics.names import (
    CLASS_IMAGE_MIOU,
    IMAGE_MIOU,
    RARE_IMAGE_MIOU,
    WORST_CLASS_IMAGE_MIOU,
    WORST_IMAGE_MIOU,
)
from trainable.evaluate.metrics.per_image import ImageIous

C = 4
RARE = (2, 3)


def slow_ious(labels_NHW: np.ndarray, predicted_NHW: np.ndarray) -> list[dict[int, float]]:
    """IoU of each class that an image is labelled with."""
    images = []
    for labels, predicted in zip(labels_NHW, predicted_NHW, strict=True):
        known = labels != IGNORE_INDEX
        ious = {}
        for c in set(labels[known].tolist()):
            both = ((labels == c) & (predicted == c)).sum()
            ious[c] = float(both / (known & ((labels == c) | (predicted == c))).sum())
        images.append(ious)
    return images


def worst(values: list[float]) -> float:
    return float(np.mean(sorted(values)[: max(1, len(values) // 10)]))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 25), st.integers(1, C), st.sampled_from([0.0, 0.3, 1.0]))
def test_scores_per_image_equal_loops(seed: int, images: int, labelled: int, ignored: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(labelled, (images, 3, 4), generator=generator)
    predicted = torch.randint(C, (images, 3, 4), generator=generator)
    labels[torch.rand(images, 3, 4, generator=generator) < ignored] = IGNORE_INDEX
    labels[: images // 3] = IGNORE_INDEX
    collected = ImageIous()
    for batch in torch.arange(images).split(4):
        matrices_BCC = image_confusions(labels[batch].byte(), predicted[batch], C)
        assert torch.equal(matrices_BCC.sum(dim=0), confusion_matrix(labels[batch].byte(), predicted[batch], C))
        collected.add(matrices_BCC)
    of_images = slow_ious(labels.numpy(), predicted.numpy())
    means = [float(np.mean(list(ious.values()))) for ious in of_images if ious]
    columns = {c: [ious[c] for ious in of_images if c in ious] for c in range(C)}
    columns = {c: ious for c, ious in columns.items() if ious}
    expected = {}
    if means:
        expected = {
            IMAGE_MIOU: np.mean(means),
            WORST_IMAGE_MIOU: worst(means),
            CLASS_IMAGE_MIOU: np.mean([np.mean(ious) for ious in columns.values()]),
            WORST_CLASS_IMAGE_MIOU: np.mean([worst(ious) for ious in columns.values()]),
        }
        rare = [np.mean(columns[c]) for c in RARE if c in columns]
        expected |= {RARE_IMAGE_MIOU: np.mean(rare)} if rare else {}
    assert collected.scores(RARE) == pytest.approx(expected)


def test_a_class_that_is_predicted_alone_has_no_iou_of_its_own() -> None:
    labels, predicted = torch.tensor([[[0, 0, 0, 0]]]), torch.tensor([[[0, 0, 0, 1]]])
    collected = ImageIous()
    collected.add(image_confusions(labels, predicted, 2))
    assert collected.scores((1,)) == dict.fromkeys(
        (IMAGE_MIOU, WORST_IMAGE_MIOU, CLASS_IMAGE_MIOU, WORST_CLASS_IMAGE_MIOU), 0.75
    )
    assert not math.isnan(collected.scores((0,))[RARE_IMAGE_MIOU])
