import math

import numpy as np
import pytest
import torch
from torch import nn

from trainable.evaluate.metrics.names import (
    WEIGHT_COSINE,
    WEIGHT_COSINE_FREQUENT,
    WEIGHT_COSINE_RARE,
    WEIGHT_COSINE_RARE_FREQUENT,
)
from trainable.evaluate.metrics.weight_cosine import cosine_scores, weight_cosines


@pytest.mark.parametrize("kernel", [1, 3])
def test_against_numpy_pair_by_pair(kernel: int) -> None:
    torch.manual_seed(kernel)
    classifier, rare = nn.Conv2d(4, 6, kernel), (1, 3, 4)
    vectors = classifier.weight.detach().double().numpy().reshape(6, -1)
    expected = {
        (i, j): float(np.dot(vectors[i], vectors[j]) / np.linalg.norm(vectors[i]) / np.linalg.norm(vectors[j]))
        for i in range(6)
        for j in range(6)
    }
    cosines_CC = weight_cosines(classifier)
    for pair, cosine in expected.items():
        assert float(cosines_CC[pair]) == pytest.approx(cosine, abs=1e-12)

    def mean(rare_classes: set[int]) -> float:
        """Over pairs with so many rare classes."""
        pairs = [p for p in expected if p[0] < p[1] and sum(c in rare for c in p) in rare_classes]
        return sum(expected[pair] for pair in pairs) / len(pairs)

    names = (WEIGHT_COSINE, WEIGHT_COSINE_RARE, WEIGHT_COSINE_FREQUENT, WEIGHT_COSINE_RARE_FREQUENT)
    means = ({0, 1, 2}, {2}, {0}, {1})
    wanted = {name: mean(kinds) for name, kinds in zip(names, means, strict=True)}
    assert cosine_scores(cosines_CC, rare) == pytest.approx(wanted, abs=1e-12)


def test_by_hand() -> None:
    classifier = nn.Conv2d(2, 3, 1)
    classifier.weight.data = torch.tensor([[3.0, 0], [0, 2], [1, 1]])[:, :, None, None]
    assert cosine_scores(weight_cosines(classifier), [2])[WEIGHT_COSINE] == pytest.approx(2 * 2 * math.sqrt(0.5) / 6)
    classifier.weight.data[0] = 0
    assert weight_cosines(classifier)[0].tolist() == [0, 0, 0]


def test_means_over_no_pair_are_not_a_number() -> None:
    assert all(math.isnan(value) for value in cosine_scores(torch.eye(1), []).values())
    scores = cosine_scores(torch.eye(3), [1])
    assert math.isnan(scores.pop(WEIGHT_COSINE_RARE))
    assert set(scores.values()) == {0.0}
