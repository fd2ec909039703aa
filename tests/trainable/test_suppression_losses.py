"""The two-path loss against an independent slow reference: float64, loops over classes and pixels, unfused gate."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trainable.data.classes import IGNORE_INDEX
from trainable.model.segmenter import Segmenter
from trainable.suppression.block import SuppressionBlock, class_gate
from trainable.suppression.loss import cross_entropy, mean_probability, without_class
from trainable.train import two_path_losses

CLASSES, CHANNELS = 3, 4


def small_model(kernel: int, gate_norm: str) -> Segmenter:
    torch.manual_seed(3)
    block = SuppressionBlock(CHANNELS, gate_norm)  # type: ignore[arg-type]
    nn.init.normal_(block.norm.weight)
    nn.init.normal_(block.norm.bias)
    classifier = nn.Conv2d(CHANNELS, CLASSES, kernel, padding=kernel // 2)
    upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    encoder = nn.Conv2d(3, CHANNELS, 2, stride=2)
    return Segmenter(encoder, nn.ReLU(), classifier, upsample, block).double()


def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(4)
    labels_BHW = torch.randint(CLASSES, (2, 8, 8))
    labels_BHW[:, 0] = IGNORE_INDEX
    return torch.randn(2, 3, 8, 8, dtype=torch.float64), labels_BHW


def slow_cross_entropy(logits_BCHW: Tensor, labels_BHW: Tensor, skip: int | None) -> Tensor:
    total, count = logits_BCHW.new_zeros(()), 0
    for b in range(labels_BHW.shape[0]):
        for i in range(labels_BHW.shape[1]):
            for j in range(labels_BHW.shape[2]):
                label = int(labels_BHW[b, i, j])
                if label in (IGNORE_INDEX, skip):
                    continue
                scores_C = logits_BCHW[b, :, i, j]
                total = total + sum(s.exp() for s in scores_C).log() - scores_C[label]
                count += 1
    return total / count


def slow_gate(weight_CKkk: Tensor, dropped: int | None, norm: str) -> Tensor:
    gate = []
    for k in range(CHANNELS):
        kept = [c for c in range(CLASSES) if c != dropped]
        gate.append(sum(F.relu(weight_CKkk[c, k].mean()) for c in kept) / len(kept))
    gate_K = torch.stack(gate)
    return gate_K / gate_K.mean() if norm == "mean" else gate_K


def slow_loss(model: Segmenter, batch: tuple[Tensor, Tensor], z: int | None, w: float, alpha: float) -> Tensor:
    images_B3HW, labels_BHW = batch
    assert model.block is not None
    conv, norm = model.block.conv, model.block.norm
    maps = F.relu(F.conv2d(images_B3HW, model.encoder.weight, model.encoder.bias, stride=2))
    gated = maps * slow_gate(model.classifier.weight, z, model.block.gate_norm)[None, :, None, None]
    mixed = torch.einsum("ok,bkhw->bohw", conv.weight[:, :, 0, 0], gated) + conv.bias[None, :, None, None]
    mean, var = mixed.mean(dim=(0, 2, 3)), mixed.var(dim=(0, 2, 3), unbiased=False)
    normal = (mixed - mean[None, :, None, None]) / (var[None, :, None, None] + norm.eps).sqrt()
    dropped = F.relu(normal * norm.weight[None, :, None, None] + norm.bias[None, :, None, None])
    heads = [F.conv2d(m, model.classifier.weight, model.classifier.bias, padding="same") for m in (maps, dropped)]
    up = [F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=True) for h in heads]
    loss = (1 - w) * slow_cross_entropy(up[0], labels_BHW, None) + w * slow_cross_entropy(up[1], labels_BHW, z)
    if z is not None:
        probability = [
            heads[1][b, z, i, j].exp() / sum(s.exp() for s in heads[1][b, :, i, j])
            for b in range(2) for i in range(4) for j in range(4)
        ]  # fmt: skip
        loss = loss + alpha * sum(probability) / len(probability)
    return loss


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("gate_norm", ["none", "mean"])
@pytest.mark.parametrize("dropped", [None, 0, 2])
def test_loss_and_gradients_equal_the_slow_reference(kernel: int, gate_norm: str, dropped: int | None) -> None:
    w, alpha = 0.3, 10.0
    model = small_model(kernel, gate_norm)
    fast = two_path_losses(model, *batch(), dropped, None).total(w, alpha)
    fast_gradients = torch.autograd.grad(fast, list(model.parameters()))
    slow = slow_loss(model, batch(), dropped, w, alpha)
    slow_gradients = torch.autograd.grad(slow, list(model.parameters()))
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-12)
    for (name, _), ours, reference in zip(model.named_parameters(), fast_gradients, slow_gradients, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-8, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}")


def test_the_gate_carries_gradients_to_the_classifier() -> None:
    weight = torch.rand(3, 4, 1, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(class_gate(weight, None, "none").sum(), weight)
    torch.testing.assert_close(gradient, torch.full_like(weight, 1 / 3))


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(5)), st.integers(0, 4), st.sampled_from(["none", "mean"]), st.integers(0, 10**6))
def test_the_gate_is_equivariant(order: list[int], dropped: int, norm: str, seed: int) -> None:
    """Renaming classes leaves the gate, reordering channels reorders it."""
    weight = torch.randn(5, 5, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    keep = torch.ones(5, dtype=torch.float64)
    keep[dropped] = 0
    gate = class_gate(weight, keep, norm)  # type: ignore[arg-type]
    torch.testing.assert_close(class_gate(weight[order], keep[order], norm), gate)  # type: ignore[arg-type]
    torch.testing.assert_close(class_gate(weight[:, order], keep, norm), gate[order])  # type: ignore[arg-type]


def test_the_gate_by_hand() -> None:
    weight = torch.tensor([[1.0, -2.0], [3.0, 4.0]])[:, :, None, None]
    assert class_gate(weight, None, "none").tolist() == [2.0, 2.0]
    assert class_gate(weight, torch.tensor([1.0, 0.0]), "none").tolist() == [1.0, 0.0]
    assert class_gate(weight, torch.tensor([1.0, 0.0]), "mean").tolist() == [2.0, 0.0]
    assert class_gate(-weight.abs(), None, "mean").tolist() == [0.0, 0.0]


def test_evaluation_is_the_path_with_every_class_kept() -> None:
    model = small_model(3, "none").eval()
    images, _ = batch()
    maps = model.features(images)
    kept = model.upsample(model.classify(model.suppressed(maps, torch.ones(CLASSES, dtype=torch.float64))))
    torch.testing.assert_close(model(images), kept)
    assert not torch.allclose(model(images), model.upsample(model.classify(maps))), "the block is not the identity"


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([None, (1.0, 2.0, 0.5)]))
def test_ignored_pixels_never_change_the_loss(seed: int, weights: tuple[float, ...] | None) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 4, generator=generator)
    labels = torch.randint(3, (2, 4, 4), generator=generator)
    ignored = torch.rand(2, 4, 4, generator=generator) < 0.4
    ignored[0, 0, 0] = False
    labels[ignored] = IGNORE_INDEX
    noise = torch.randn(2, 3, 4, 4, generator=generator) * ignored[:, None] * 9
    weight = None if weights is None else torch.tensor(weights)
    torch.testing.assert_close(cross_entropy(logits + noise, labels, weight), cross_entropy(logits, labels, weight))
    expected = F.cross_entropy(logits, labels, weight, ignore_index=IGNORE_INDEX)
    torch.testing.assert_close(cross_entropy(logits, labels, weight), expected)


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 0.0, 2.0])])
@pytest.mark.parametrize("label", [IGNORE_INDEX, 1])
def test_without_weighted_pixels_the_loss_is_zero(weights: Tensor | None, label: int) -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    labels = torch.full((1, 2, 2), label)
    if label == 1 and weights is None:
        labels = without_class(labels, 1)
    loss = cross_entropy(logits, labels, weights)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


def test_the_suppression_term_counts_every_pixel() -> None:
    logits = torch.zeros(1, 2, 1, 2)
    logits[0, 1, 0, 0] = torch.log(torch.tensor(3.0))
    torch.testing.assert_close(mean_probability(logits, 1), torch.tensor((0.75 + 0.5) / 2))
    assert without_class(torch.tensor([[[0, 1, 255]]]), 1).tolist() == [[[0, 255, 255]]]
    assert without_class(torch.tensor([[[0, 1]]]), None).tolist() == [[[0, 1]]]
