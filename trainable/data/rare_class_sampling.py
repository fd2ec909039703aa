"""Rare class sampling: which images the steps of an epoch train on (DAFormer, 2111.14887, section 3.3).

Shapes: N training images, C classes, M images drawn for an epoch, B of a batch.
"""

import torch
from torch import Tensor

from trainable.data.config import RareClassSampling
from trainable.data.mapped import Counts


def class_probabilities(sampling: RareClassSampling, counts_NC: Counts) -> Tensor:
    """P(c) = softmax((1 - f_c) / T), float64 [C], over the classes that any image holds; f_c a share of the pixels."""
    pixels_C = torch.from_numpy(counts_NC.sum(axis=0)).double()
    logits_C = (1 - pixels_C / pixels_C.sum()) / sampling.temperature
    return logits_C.masked_fill(pixels_C == 0, -torch.inf).softmax(dim=0)


def rare_class_batches(
    sampling: RareClassSampling, counts_NC: Counts, steps: int, batch_size: int, generator: torch.Generator
) -> list[Tensor]:
    """Image indices [B] of each step: for each image first a class, then one of the images that hold it.

    ``counts_NC`` are the pixels of each class in each image; at least one image must be labelled.
    """
    draws = steps * min(batch_size, len(counts_NC))
    classes_M = torch.multinomial(
        class_probabilities(sampling, counts_NC), draws, replacement=True, generator=generator
    )
    places_M = torch.rand(draws, dtype=torch.float64, generator=generator)
    chosen_M = torch.empty_like(classes_M)
    for c in torch.unique(classes_M).tolist():
        holders = torch.from_numpy(counts_NC[:, c].nonzero()[0])
        drawn_M = classes_M == c
        chosen_M[drawn_M] = holders[(places_M[drawn_M] * len(holders)).long()]
    return list(torch.split(chosen_M, draws // steps))
