"""The losses once more, pixel by pixel in numpy, from the papers' definitions; nothing here comes from ``trainable``.

Each takes probabilities [N,C] of the labelled pixels of a batch, their labels [N] and class weights [C].
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def ce(p_NC: Numbers, labels_N: Labels, weights_C: Numbers) -> float:
    total = sum(-weights_C[y] * math.log(p_NC[n, y]) for n, y in enumerate(labels_N))
    return float(total / max(1e-12, sum(weights_C[y] for y in labels_N)))


def ohem(p_NC: Numbers, labels_N: Labels, weights_C: Numbers, threshold: float, min_kept: float) -> float:
    of_label_N = [p_NC[n, y] for n, y in enumerate(labels_N)]
    least = sorted(of_label_N)[: max(1, int(min_kept * len(labels_N)))]
    kept = [n for n, p in enumerate(of_label_N) if p < threshold or p <= least[-1]]
    return float(sum(-weights_C[labels_N[n]] * math.log(of_label_N[n]) for n in kept) / len(kept))


def official_ohem(p_NC: Numbers, labels_N: Labels, weights_C: Numbers, threshold: float, kept: int) -> float:
    """As HRNet's code says it: hard is what lies below the threshold, or below the place behind the ``kept`` least."""
    of_label_N = np.array([p_NC[n, y] for n, y in enumerate(labels_N)])
    behind = np.sort(of_label_N)[min(kept, len(of_label_N) - 1)]
    hard_N = of_label_N < max(behind, threshold)
    return float((weights_C[labels_N] * -np.log(of_label_N))[hard_N].mean())


def focal(p_NC: Numbers, labels_N: Labels, weights_C: Numbers, gamma: float) -> float:
    total = 0.0
    for n, y in enumerate(labels_N):
        total -= weights_C[y] * (1 - p_NC[n, y]) ** gamma * math.log(p_NC[n, y])
    return float(total / max(1e-12, sum(weights_C[y] for y in labels_N)))


def dice(p_NC: Numbers, labels_N: Labels) -> float:
    losses = []
    for c in sorted(set(labels_N.tolist())):
        both = sum(p_NC[n, c] for n, y in enumerate(labels_N) if y == c)
        losses.append(1 - 2 * both / (p_NC[:, c].sum() + (labels_N == c).sum()))
    return float(np.mean(losses))


def lovasz(p_NC: Numbers, labels_N: Labels) -> float:
    """Berman et al., section 2: the extension of the set function Jaccard loss, summed over the level sets."""
    losses = []
    for c in sorted(set(labels_N.tolist())):
        errors_N = np.array([1 - p_NC[n, c] if y == c else p_NC[n, c] for n, y in enumerate(labels_N)])
        order = np.argsort(-errors_N, kind="stable")
        before, loss = 0.0, 0.0
        for count, n in enumerate(order, start=1):
            after = _jaccard_loss(labels_N == c, set(order[:count].tolist()))
            loss += errors_N[n] * (after - before)
            before = after
        losses.append(loss)
    return float(np.mean(losses))


def _jaccard_loss(truth_N: npt.NDArray[np.bool_], wrong: set[int]) -> float:
    """1 - IoU of a prediction that is wrong at some pixels."""
    predicted_N = np.array([truth != (n in wrong) for n, truth in enumerate(truth_N)])
    return float(1 - (truth_N & predicted_N).sum() / (truth_N | predicted_N).sum())


def logit_adjusted(p_NC: Numbers, labels_N: Labels, weights_C: Numbers, tau: float, pixels_C: tuple[int, ...]) -> float:
    share_C = np.maximum(1, np.array(pixels_C)) / np.maximum(1, np.array(pixels_C)).sum()
    adjusted_NC = p_NC * share_C**tau
    return ce(adjusted_NC / adjusted_NC.sum(axis=1, keepdims=True), labels_N, weights_C)


SlowLoss = Callable[[Numbers, Labels, Numbers], float]
