"""Cosines between the classifier's weight vectors of classes, the paper's measure of entanglement.

Source: Chu, Kim, Han, NeurIPS 2021, arXiv 2111.00531.
Shapes: C classes, K channels of the classifier's input, k x k its kernel.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from trainable.evaluate.metrics.names import (
    WEIGHT_COSINE,
    WEIGHT_COSINE_FREQUENT,
    WEIGHT_COSINE_RARE,
    WEIGHT_COSINE_RARE_FREQUENT,
)


@torch.no_grad()
def weight_cosines(classifier: nn.Conv2d) -> Tensor:
    """Cosine of the weights [K,k,k], flattened, of every two classes: float64 [C,C] on the CPU.

    A class whose weights are all zero has cosine 0 with every class.
    """
    unit_CK = nn.functional.normalize(classifier.weight.flatten(1).cpu().double(), dim=1)
    return unit_CK @ unit_CK.T


def cosine_scores(cosines_CC: Tensor, rare: Collection[int]) -> dict[str, float]:
    """Mean cosine over pairs of two different classes, by metric's name: of all, two rare, two frequent, one of each.

    Frequent are the classes that are not rare. The mean over no pair is NaN.
    """
    classes = len(cosines_CC)
    rare_C = torch.tensor([c in rare for c in range(classes)])
    both_CC, neither_CC = rare_C[:, None] & rare_C, ~rare_C[:, None] & ~rare_C
    pairs = {
        WEIGHT_COSINE: torch.ones_like(both_CC),
        WEIGHT_COSINE_RARE: both_CC,
        WEIGHT_COSINE_FREQUENT: neither_CC,
        WEIGHT_COSINE_RARE_FREQUENT: ~both_CC & ~neither_CC,
    }
    different_CC = ~torch.eye(classes, dtype=torch.bool)
    return {name: float(cosines_CC[pairs_CC & different_CC].mean()) for name, pairs_CC in pairs.items()}
