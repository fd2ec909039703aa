"""Draw the classes that a training step suppresses.

All random numbers come from a CPU generator of the caller, and every step takes equally many whatever the setting, so
a run on a GPU suppresses the same classes as one on a CPU, and trials that differ in probability, mechanism or layer
draw the same ones; but round_robin's turn moves on with each drop, and difficulty follows what a trial has learned.
Nothing waits for the GPU: where weights depend on the batch, the choice is made on its device.
On several ranks every one draws for the global batch, from equal generators, and takes what is of its own images.
Shapes: B batch (labels and logits: this rank's images of it), C classes, G groups that share a draw (1: the batch, B:
one per image, or as many as ``groups`` has), H W labels, h w logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, assert_never

import torch
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX
from trainable.data.statistics import ClassStatistics
from trainable.evaluate.metrics.rare import rare_classes
from trainable.parts.facts import ClassFacts
from trainable.parts.section import OwnPart
from trainable.ranks.group import gathered, summed, world
from trainable.suppression.config import Groups, SuppressionConfig
from trainable.suppression.drop import Drop
from trainable.suppression.grouping import Grouping
from trainable.suppression.own_sampling import OwnStrategy
from trainable.suppression.sampling_sections import (
    CoOccurrence,
    Difficulty,
    EffectiveNumber,
    Frequency,
    InverseFrequency,
    Listed,
    Present,
    RoundRobin,
    Temperature,
    Uniform,
)


@dataclass
class DifficultyState:
    """What difficulty has learned: moving averages over batches, by class."""

    sampling: Difficulty
    hits_C: Tensor
    """Pixels predicted right."""
    union_C: Tensor
    """Pixels labelled or predicted as the class."""

    def state_dict(self) -> dict[str, object]:
        """What later draws depend on."""
        return {"hits": self.hits_C, "union": self.union_C}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.hits_C, self.union_C = state["hits"].to(self.hits_C.device), state["union"].to(self.hits_C.device)

    def observe(self, logits_BChw: Tensor, labels_BHW: Tensor, drop: Drop | None) -> None:
        """Learn from a training batch, as `ClassSampler.observe` says."""
        momentum, nowhere = self.sampling.momentum, len(self.hits_C)  # a bin for what does not count
        sampled_Bhw = labels_at(labels_BHW, logits_BChw.shape[-2:])
        predicted_Bhw = logits_BChw.detach().argmax(dim=1)
        if drop is not None:
            sampled_Bhw, predicted_Bhw = drop.labels(sampled_Bhw), drop.labels(predicted_Bhw)
        labels = torch.where(sampled_Bhw == IGNORE_INDEX, nowhere, sampled_Bhw.long())
        predicted = torch.where((labels == nowhere) | (predicted_Bhw == IGNORE_INDEX), nowhere, predicted_Bhw)
        hits_C = _count(torch.where(labels == predicted, labels, nowhere), nowhere)
        union_C = _count(labels, nowhere) + _count(predicted, nowhere) - hits_C
        hits_C, union_C = summed(torch.stack([hits_C, union_C]))
        self.hits_C = momentum * self.hits_C + (1 - momentum) * hits_C
        self.union_C = momentum * self.union_C + (1 - momentum) * union_C


@dataclass
class Turn:
    """Whose turn it is in round_robin."""

    classes: int
    next: int = 0

    def state_dict(self) -> dict[str, object]:
        """What later draws depend on."""
        return {"turn": self.next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.next = state["turn"]

    def take(self, drops_G: Tensor, count: int) -> Tensor:
        """The next ``count`` classes for each group that drops; [G,C] of 0 and 1."""
        chosen_GC = torch.zeros(len(drops_G), self.classes)
        for group in drops_G.nonzero().flatten().tolist():
            for _ in range(count):
                chosen_GC[group, self.next] = 1
                self.next = (self.next + 1) % self.classes
        return chosen_GC


Stateful: TypeAlias = DifficultyState | Turn | OwnStrategy
Strategy: TypeAlias = (
    Stateful | Uniform | Present | Frequency | InverseFrequency | EffectiveNumber | Temperature | CoOccurrence | Listed
)


class ClassSampler:
    """Draws classes by the configured strategy; its state is part of the trial's checkpoint."""

    def __init__(
        self,
        suppression: SuppressionConfig,
        statistics: ClassStatistics,
        device: torch.device,
        names: Sequence[str] = (),
    ) -> None:
        """Take the training statistics; ``device`` is the one of labels and logits, ``names`` are the classes'.

        Raises:
            ValueError: a class that is listed has no such name.
        """
        self.suppression, self.statistics, self.device = suppression, statistics, device
        self.classes = len(statistics.pixels)
        self.names = tuple(names)
        match suppression.sampling:
            case Difficulty() as sampling:
                nothing_C = torch.zeros(self.classes, dtype=torch.float64, device=device)
                self.strategy: Strategy = DifficultyState(sampling, nothing_C, nothing_C.clone())
            case RoundRobin():
                self.strategy = Turn(self.classes)
            case OwnPart() as sampling:
                facts = ClassFacts(self.names, statistics, rare_classes(statistics.pixels))
                self.strategy = OwnStrategy.of(sampling, facts)
            case sampling:
                self.strategy = sampling

    def state_dict(self) -> dict[str, object]:
        """What later draws depend on; nothing where the strategy keeps no state."""
        return self.strategy.state_dict() if isinstance(self.strategy, Stateful) else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        if isinstance(self.strategy, Stateful):
            self.strategy.load_state_dict(state)

    def draw(self, labels_BHW: Tensor, probability: float, generator: torch.Generator) -> Drop | None:
        """Draw for a batch, all ranks together; None where nothing is dropped.

        Each group drops nothing with 1 - ``probability``. Of the draw a rank gets what is of its own images.
        """
        granularity = self.suppression.granularity
        grouping = Grouping.of(granularity, len(labels_BHW) * world())
        coins_G = torch.rand(grouping.groups, generator=generator, dtype=torch.float64)
        noise_GC = torch.rand(grouping.groups, self.classes, generator=generator, dtype=torch.float64)
        seed = int(torch.randint(2**62, (), generator=generator))
        drops_G = (coins_G < probability) & grouping.occupied
        if not drops_G.any():
            return None
        if isinstance(self.strategy, Turn):
            chosen_GC = self.strategy.take(drops_G, self.suppression.num_classes)
        else:
            chosen_GC = self._weighted(labels_BHW, noise_GC) * drops_G[:, None].to(self.device, non_blocking=True)
        keep_GC = grouping.rows((1 - chosen_GC).float().to(self.device, non_blocking=True))
        share = float(drops_G[grouping.occupied].double().mean())
        return Drop(keep_GC, seed, share, over_all=isinstance(granularity, Groups)).on_this_rank()

    def observe(self, logits_BChw: Tensor, labels_BHW: Tensor, drop: Drop | None) -> None:
        """Let difficulty, or an own strategy, learn from a batch: logits of the suppressed path, the one that predicts.

        Of the labels every s-th pixel is taken. What was suppressed counts neither as label nor as prediction.
        """
        if isinstance(self.strategy, DifficultyState | OwnStrategy):
            self.strategy.observe(logits_BChw, labels_BHW, drop)

    def weights(self, labels_BHW: Tensor) -> Tensor:
        """Weights [G,C] or [1,C] (float64, sum 1) of the next draw; uniform where the strategy knows no difference."""
        statistics, strategy = self.statistics, self.strategy
        match strategy:
            case Uniform() | Turn():
                weights_GC = torch.ones(1, self.classes, dtype=torch.float64)
            case Present():
                weights_GC = self._present(labels_BHW)
            case Frequency():
                weights_GC = torch.tensor([statistics.pixels], dtype=torch.float64)
            case InverseFrequency():
                weights_GC = inverse_frequency(statistics, strategy.tau)[None]
            case EffectiveNumber():
                weights_GC = effective_number(statistics, strategy.beta)[None]
            case Temperature():
                weights_GC = temperature(statistics, strategy.temperature)[None]
            case DifficultyState():
                weights_GC = (difficulties(strategy.hits_C, strategy.union_C) ** strategy.sampling.tau)[None]
            case OwnStrategy():
                weights_GC = strategy.weights(labels_BHW, self._groups(len(labels_BHW)))
            case CoOccurrence():
                weights_GC = co_occurrence(statistics)[None]
            case Listed():
                weights_GC = torch.zeros(1, self.classes, dtype=torch.float64)
                weights_GC[0, [self.names.index(name) for name in strategy.classes]] = 1
            case _:
                assert_never(strategy)
        total_G1 = weights_GC.sum(dim=1, keepdim=True)
        return torch.where(total_G1 > 0, weights_GC / total_G1, 1 / self.classes)

    def _groups(self, images: int) -> int:
        return Grouping.of(self.suppression.granularity, images * world()).groups

    def _weighted(self, labels_BHW: Tensor, noise_GC: Tensor) -> Tensor:
        """Draw ``num_classes``, or all that are listed, without replacement by the Gumbel top-k trick; bool [G,C]."""
        weights_GC = self.weights(labels_BHW)
        strategy = self.strategy
        count = len(strategy.classes) if isinstance(strategy, Listed) else self.suppression.num_classes
        gumbel_GC = -torch.log(-torch.log(noise_GC.clamp(1e-300, 1 - 1e-16)))
        scores_GC = weights_GC.log() + gumbel_GC.to(weights_GC.device, non_blocking=True)
        best_GN = scores_GC.topk(count, dim=1).indices
        chosen_GC = torch.zeros_like(scores_GC).scatter_(1, best_GN, 1)
        return (chosen_GC * (weights_GC > 0)).to(self.device, non_blocking=True)  # fewer where fewer have a weight

    def _present(self, labels_BHW: Tensor) -> Tensor:
        labels = labels_BHW.flatten(1).long()
        present_BC = gathered(labels.new_zeros(len(labels), 256).scatter_(1, labels, 1)[:, : self.classes])
        return Grouping.of(self.suppression.granularity, len(present_BC)).any_of(present_BC).double()


def _count(classes: Tensor, number: int) -> Tensor:
    """Count ids below ``number``, [C]; ``bincount`` would wait for the GPU."""
    ids = classes.flatten()
    counts = ids.new_zeros(number + 1).scatter_add_(0, ids, torch.ones_like(ids))
    return counts[:number].double()


def labels_at(labels_BHW: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Labels [B,h,w] at the centres of a coarser grid (nearest neighbour)."""
    rows, columns = (
        ((torch.arange(n, device=labels_BHW.device) + 0.5) * full / n).long()
        for n, full in zip(size, labels_BHW.shape[-2:], strict=True)
    )
    return labels_BHW[:, rows[:, None], columns[None, :]]


def inverse_frequency(statistics: ClassStatistics, tau: float) -> Tensor:
    """f_c^(-tau) up to a factor, [C]: f the share of training pixels.

    A class without training pixels weighs as much as the rarest class that has some. f = 0 has no power, and a share
    of one pixel would let that class take nearly all draws although there is nothing to learn from them.
    """
    # relative to the rarest class: every weight lies in (0, 1] whatever tau is
    pixels_C = _at_least_rarest(statistics.pixels)
    return (pixels_C.min() / pixels_C) ** tau


def effective_number(statistics: ClassStatistics, beta: float) -> Tensor:
    """1 / E_n = (1 - beta) / (1 - beta^n), [C]: n the training images that hold the class (1901.05555, eq. 2).

    A class in no image weighs as much as the rarest one.
    """
    images_C = _at_least_rarest(statistics.images)
    return (1 - beta) / (1 - torch.tensor(beta, dtype=torch.float64) ** images_C)


def temperature(statistics: ClassStatistics, temperature: float) -> Tensor:
    """softmax((1 - f_c) / T), [C]: f the share of training pixels (2111.14887, eq. 7)."""
    pixels_C = torch.tensor(statistics.pixels, dtype=torch.float64)
    return torch.softmax((1 - pixels_C / pixels_C.sum().clamp_min(1)) / temperature, dim=0)


def difficulties(hits_C: Tensor, union_C: Tensor) -> Tensor:
    """1 - IoU, [C]; a class not met so far gets the mean of the others."""
    known_C = union_C > 0
    difficulty_C = 1 - hits_C / torch.where(known_C, union_C, 1)
    mean = (difficulty_C * known_C).sum() / known_C.sum().clamp_min(1)
    return torch.where(known_C, difficulty_C, mean)


def co_occurrence(statistics: ClassStatistics) -> Tensor:
    """How much each class predicts the rare ones, [C]: the mean over rare b != z of P(b | z) / P(b | not z).

    P(b | .) is the share of images that hold b (2001.03152, eq. 1, with labels for predictions), with one more image in
    each count, half of it holding b, so that it is never 0. The quotient is 1 where z is in all images or in none:
    there is no evidence. Without any rare class the rarest one counts as rare.
    """
    rare = rare_classes(statistics.pixels) or (statistics.pixels.index(min(statistics.pixels)),)
    together_CC = torch.tensor(statistics.together, dtype=torch.float64)
    images_C, total = together_CC.diagonal(), statistics.total_images
    with_z_CC = (together_CC + 0.5) / (images_C[None, :] + 1)
    without_z_CC = (images_C[:, None] - together_CC + 0.5) / (total - images_C[None, :] + 1)
    no_evidence_C = (images_C == 0) | (images_C == total)
    bias_CC = torch.where(no_evidence_C[None, :], 1.0, with_z_CC / without_z_CC)
    is_rare_C = torch.zeros(len(images_C), dtype=torch.float64)
    is_rare_C[list(rare)] = 1
    others_CC = is_rare_C[:, None] * (1 - torch.eye(len(images_C), dtype=torch.float64))
    return (bias_CC * others_CC).sum(dim=0) / others_CC.sum(dim=0).clamp_min(1)


def _at_least_rarest(counts: tuple[int, ...]) -> Tensor:
    """Counts [C], with the smallest that is not 0 in place of 0; all 1 where all are 0."""
    rarest = min((count for count in counts if count), default=1)
    return torch.tensor([count or rarest for count in counts], dtype=torch.float64)
