"""What must hold whatever the numbers are: identities, invariances, distributions, and values worked out by hand."""

import math
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from unittest import mock

import pytest
import reference
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy.stats import chi2, chisquare
from torch import Tensor, nn

from trainable.data.classes import IGNORE_INDEX
from trainable.data.statistics import ClassStatistics
from trainable.model.build import build_model
from trainable.model.config import ModelConfig
from trainable.model.segmenter import Segmenter
from trainable.suppression import loss
from trainable.suppression.block import SuppressionBlock, gradient_importance
from trainable.suppression.config import Groups, SuppressionConfig
from trainable.suppression.drop import Drop
from trainable.suppression.grouping import Grouping
from trainable.suppression.loss import PathLosses, cross_entropy, path_cross_entropies, suppressed_probability
from trainable.suppression.mechanism import effective_weight, gates, hard_mask, projected, random_gates
from trainable.suppression.mechanism_sections import ChannelMechanism, Mechanism
from trainable.suppression.sampling import (
    ClassSampler,
    DifficultyState,
    co_occurrence,
    difficulties,
    effective_number,
    inverse_frequency,
    labels_at,
    temperature,
)
from trainable.suppression.schedule import drop_probability, progress, suppressed_weight
from trainable.train.step import Batch, two_path_losses

MakeModel = Callable[..., Segmenter]

CPU = torch.device("cpu")
MECHANISMS = ("gate", "hard", "projection", "random_channels")
STRATEGIES = (
    "uniform", "present", "frequency", "inverse_frequency", "effective_number", "temperature", "difficulty",
    "co_occurrence", "round_robin",
)  # fmt: skip
LAYERS = ("decoder", "encoder.1", "encoder.2", "encoder.3", "encoder.4", "encoder.5")
GRANULARITIES = ("batch", "image", "groups")


def groups_of(granularity: str, images: int) -> list[int]:
    """Group of each image; groups of [1, 3], as ranks of a training on four GPUs."""
    if granularity == "groups":
        end = math.floor(images / 4 + 0.5)
        return [0 if index < end else 1 for index in range(images)]
    return [0] * images if granularity == "batch" else list(range(images))


mechanisms = st.sampled_from([TypeAdapter(Mechanism).validate_python({"name": name}) for name in MECHANISMS])
norms = st.sampled_from(["none", "mean"])
seeds = st.integers(0, 10**6)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_batch(seed: int, classes: int, images: int = 2, dtype: torch.dtype = torch.float64) -> Batch:
    generator = seeded(seed)
    labels_BHW = torch.randint(classes, (images, 18, 34), generator=generator)
    labels_BHW[torch.rand(labels_BHW.shape, generator=generator) < 0.2] = IGNORE_INDEX
    return Batch(torch.randn(images, 3, 18, 34, generator=generator, dtype=dtype), labels_BHW)


def random_importance(seed: int, classes: int, channels: int) -> Tensor:
    return torch.randn(classes, channels, generator=seeded(seed), dtype=torch.float64)


def random_keep(seed: int, groups: int, classes: int) -> Tensor:
    """Some classes dropped in each group, never all."""
    keep_GC = (torch.rand(groups, classes, generator=seeded(seed + 1)) < 0.6).double()
    keep_GC[:, seed % classes] = 1
    return keep_GC


# ---------------------------------------------------------------------------------------------------- mechanisms


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("norm", ["none", "mean"])
@pytest.mark.parametrize(
    ("importance", "layer"),
    [("classifier", "decoder"), ("gradient", "encoder.3"), ("auto", ("encoder.4", "decoder"))],
)
@pytest.mark.parametrize("groups", [1, 2])
def test_keeping_every_class_is_the_path_without_a_drop(
    make_model: MakeModel, mechanism: str, norm: str, importance: str, layer: str | tuple[str, ...], groups: int
) -> None:
    config = SuppressionConfig(layer=layer, importance=importance, gate_norm=norm, mechanism={"name": mechanism})
    model, batch = make_model(config, 4).double(), random_batch(1, 4)
    found, before = [], deepcopy(model.state_dict())
    for drop in (None, Drop(torch.ones(groups, 4), seed=3)):
        model.load_state_dict(before)
        losses, _ = two_path_losses(model, batch, drop, None)
        total = losses.total(0.4, 7.0)
        gradients = torch.autograd.grad(total, list(model.parameters()), allow_unused=True, materialize_grads=True)
        found.append([total, losses.plain, losses.suppressed, *gradients])
        assert losses.probability is None if drop is None else losses.probability == 0
    for without, kept in zip(*found, strict=True):
        torch.testing.assert_close(kept, without, rtol=1e-9, atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(mechanisms, norms, seeds, st.integers(1, 3))
def test_keeping_every_class_leaves_the_weight(mechanism: ChannelMechanism, norm: str, seed: int, groups: int) -> None:
    importance_CK, weight_OK = random_importance(seed, 4, 6), random_importance(seed + 1, 5, 6)
    without = effective_weight(weight_OK, importance_CK, None, mechanism, norm)
    kept = effective_weight(weight_OK, importance_CK, Drop(torch.ones(groups, 4), seed), mechanism, norm)
    torch.testing.assert_close(kept, without.expand_as(kept), rtol=1e-12, atol=1e-12)
    if mechanism.name in ("hard", "projection"):
        assert torch.equal(without, weight_OK)


@settings(max_examples=60, deadline=None)
@given(mechanisms, norms, seeds, st.permutations(range(5)), st.integers(1, 3))
def test_renaming_classes_changes_nothing(
    mechanism: ChannelMechanism, norm: str, seed: int, order: list[int], groups: int
) -> None:
    importance_CK, keep_GC = random_importance(seed, 5, 6), random_keep(seed, groups, 5)
    weight_OK = random_importance(seed + 1, 4, 6)
    usual = effective_weight(weight_OK, importance_CK, Drop(keep_GC, seed), mechanism, norm)
    renamed = effective_weight(weight_OK, importance_CK[order], Drop(keep_GC[:, order], seed), mechanism, norm)
    torch.testing.assert_close(renamed, usual, rtol=1e-10, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["gate", "hard", "projection"]), norms, seeds, st.permutations(range(5)))
def test_reordering_channels_reorders_the_weight(mechanism: str, norm: str, seed: int, order: list[int]) -> None:
    importance_CK, keep_GC = random_importance(seed, 4, 5), random_keep(seed, 2, 4)
    weight_OK, chosen = random_importance(seed + 1, 4, 5), TypeAdapter(Mechanism).validate_python({"name": mechanism})
    usual_GOK = effective_weight(weight_OK, importance_CK, Drop(keep_GC), chosen, norm)
    moved_GOK = effective_weight(weight_OK[:, order], importance_CK[:, order], Drop(keep_GC), chosen, norm)
    torch.testing.assert_close(moved_GOK, usual_GOK[..., order], rtol=1e-10, atol=1e-10)


def test_the_gate_by_hand() -> None:
    importance_CK = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    first = torch.tensor([[1.0, 0.0]])
    assert gates(importance_CK, None, "none").tolist() == [[2, 2]]
    assert gates(importance_CK, first, "none").tolist() == [[1, 0]]
    assert gates(importance_CK, first, "mean").tolist() == [[2, 0]]
    assert gates(importance_CK, torch.eye(2), "none").tolist() == [[1, 0], [3, 4]]
    assert gates(-importance_CK.abs(), None, "mean").tolist() == [[0, 0]], "a closed gate stays closed"


def test_the_gate_carries_gradients_to_the_classifier() -> None:
    importance_CK = torch.rand(3, 4, generator=seeded(0), requires_grad=True)
    (gradient_CK,) = torch.autograd.grad(gates(importance_CK, None, "none").sum(), importance_CK)
    torch.testing.assert_close(gradient_CK, torch.full_like(importance_CK, 1 / 3))


@settings(max_examples=40, deadline=None)
@given(seeds, norms)
def test_random_channels_change_the_gate_by_the_same_factors_elsewhere(seed: int, norm: str) -> None:
    importance_CK, keep_GC = random_importance(seed, 3, 7), random_keep(seed, 2, 3)
    full_1K = gates(importance_CK, None, norm)
    usual, shuffled = (
        torch.where(full_1K > 0, gate_GK / full_1K, 1).sort(dim=1).values
        for gate_GK in (gates(importance_CK, keep_GC, norm), random_gates(importance_CK, keep_GC, norm, seed))
    )
    if (full_1K > 0).all():  # a closed channel hides the factor that it gets
        torch.testing.assert_close(shuffled, usual, rtol=1e-12, atol=1e-12)
    assert torch.equal(
        random_gates(importance_CK, keep_GC, norm, seed), random_gates(importance_CK, keep_GC, norm, seed)
    )


def test_the_hard_mask_by_hand() -> None:
    importance_CK = torch.tensor([[5.0, 1.0, 2.0, 0.0], [0.0, -1.0, -2.0, -3.0], [0.0, 0.0, 0.0, 1.0]])
    keep_GC = torch.tensor([[0.0, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 1]])
    assert hard_mask(importance_CK, keep_GC, 0.5)[:2].tolist() == [[0, 1, 0, 1], [0, 0, 1, 1]]
    assert hard_mask(importance_CK, keep_GC, 0.01).tolist() == [[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 0], [1, 1, 1, 1]]


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_a_projection_removes_the_directions_and_only_them(seed: int) -> None:
    importance_CK, keep_GC = random_importance(seed, 3, 6), random_keep(seed, 2, 3)
    projection_GKK = projected(torch.eye(6, dtype=torch.float64), importance_CK, keep_GC)
    for projection_KK, keep_C in zip(projection_GKK, keep_GC, strict=True):
        dropped_NK = importance_CK[keep_C == 0]
        assert (projection_KK @ dropped_NK.T).abs().sum() < 1e-9
        torch.testing.assert_close(projection_KK @ projection_KK, projection_KK, rtol=0, atol=1e-9)
        torch.testing.assert_close(projection_KK, projection_KK.T, rtol=0, atol=1e-9)
        assert float(projection_KK.trace()) == pytest.approx(6 - len(dropped_NK))


def test_a_projection_survives_directions_that_are_zero_or_equal() -> None:
    importance_CK = torch.tensor([[0.0, 0, 0], [0, 2, 0], [0, 5, 0]], dtype=torch.float64, requires_grad=True)
    keep_GC = torch.tensor([[0.0, 1, 1], [1, 0, 0]], dtype=torch.float64)
    projection_GKK = projected(torch.eye(3, dtype=torch.float64), importance_CK, keep_GC)
    torch.testing.assert_close(projection_GKK[0], torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(projection_GKK[1], torch.diag(torch.tensor([1.0, 0, 1], dtype=torch.float64)))
    (gradient_CK,) = torch.autograd.grad(projection_GKK[0].sum(), importance_CK)
    assert torch.isfinite(gradient_CK).all()


# ---------------------------------------------------------------------------------------------------- the network


@settings(max_examples=40, deadline=None)
@given(
    mechanisms,
    st.sampled_from(["auto", "gradient", "auxiliary", "classifier"]),
    st.sets(st.sampled_from(LAYERS), min_size=1, max_size=3),
    st.sampled_from(GRANULARITIES),
    st.integers(2, 5),
    seeds,
)
def test_no_option_changes_the_shape_of_the_output(
    make_model: MakeModel, mechanism: ChannelMechanism, importance: str, layers: set[str], granularity: str,
    classes: int, seed: int,
) -> None:  # fmt: skip
    if importance == "classifier":
        layers = {"decoder"}
    config = SuppressionConfig(layer=tuple(layers), importance=importance, mechanism=mechanism, granularity=granularity)  # type: ignore[arg-type]
    batch = random_batch(seed, classes, dtype=torch.float32)
    model = make_model(config, classes)
    statistics = ClassStatistics.of([[1] * classes])
    drop = ClassSampler(config, statistics, CPU).draw(batch.labels_BHW, 1.0, seeded(seed))
    assert drop is not None
    assert drop.keep_GC.shape == (1 if granularity == "batch" else 2, classes)
    plain = model.plain(batch.images_B3HW)
    suppressed_BChw = model.suppressed(plain, drop, model.importance(plain))
    assert suppressed_BChw.shape == plain.logits_BChw.shape == (2, classes, 9, 17)
    assert model.eval()(batch.images_B3HW).shape == (2, classes, 18, 34)


def test_the_classifier_gives_the_importance_of_the_decoder_alone() -> None:
    for layer in ("encoder.2", ("encoder.2", "decoder")):
        with pytest.raises(ValidationError, match=r"use auto, auxiliary or gradient at encoder\.2"):
            SuppressionConfig(layer=layer, importance="classifier")
    assert SuppressionConfig(layer=("decoder", "encoder.2")).layers == ("encoder.2", "decoder")


@settings(max_examples=20, deadline=None)
@given(mechanisms, norms, seeds, st.integers(1, 2))
def test_gradient_and_classifier_importance_agree_under_a_1x1_head(
    make_model: MakeModel, mechanism: ChannelMechanism, norm: str, seed: int, groups: int
) -> None:
    drop, found = Drop(random_keep(seed, groups, 4), seed), []
    for importance in ("gradient", "classifier"):
        config = SuppressionConfig(importance=importance, mechanism=mechanism, gate_norm=norm)  # type: ignore[arg-type]
        model = make_model(config, 4, kernel=1, seed=seed).double()
        losses, plain = two_path_losses(model, random_batch(seed, 4), drop, None)
        assert (plain.maps["decoder"] >= 0).all()
        importance_CK = model.importance(plain)["decoder"]
        assert importance_CK.requires_grad == (importance == "classifier"), "the gradient is a constant of the step"
        found.append((importance_CK.detach(), losses.suppressed, losses.probability))
    for gradient, classifier in zip(*found, strict=True):
        torch.testing.assert_close(gradient, classifier, rtol=1e-10, atol=1e-12)


def test_gradient_importance_keeps_a_running_mean_for_the_evaluation(make_model: MakeModel) -> None:
    config = SuppressionConfig(layer=("encoder.2", "decoder"), importance="gradient")
    model = make_model(config, 4).double()
    assert all((importance == 1).all() for importance in model.importance().values()), "an even gate before training"
    steps = [model.importance(model.plain(random_batch(seed, 4).images_B3HW)) for seed in range(3)]
    model.eval()
    found = model.importance(model.plain(random_batch(9, 4).images_B3HW))
    for layer in ("encoder.2", "decoder"):
        first, second, third = (step[layer] for step in steps)
        mean_CK = 0.9 * (0.9 * first + 0.1 * second) + 0.1 * third
        torch.testing.assert_close(found[layer], mean_CK, rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(model.importance()[layer], mean_CK, rtol=1e-10, atol=1e-14)


def test_between_two_gradients_the_running_mean_stands_in(make_model: MakeModel) -> None:
    config = SuppressionConfig(layer=("encoder.2", "decoder"), importance="gradient", gradient_every=3)
    model, twin = (
        make_model(config, 4).double(),
        make_model(config.model_copy(update={"gradient_every": 1}), 4).double(),
    )
    twin.load_state_dict(model.state_dict())
    plain = [random_batch(seed, 4).images_B3HW for seed in range(5)]
    # copies, because a later step changes the running mean that an earlier one was given
    found, fresh = (
        [{layer: s.clone() for layer, s in m.importance(m.plain(images)).items()} for images in plain]
        for m in (model, twin)
    )
    for layer in ("encoder.2", "decoder"):
        first, fourth = fresh[0][layer], fresh[3][layer]
        mean_CK = 0.9 * first + 0.1 * fourth
        for ours, expected in zip((step[layer] for step in found), (first, first, first, fourth, mean_CK), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-14)
    resumed = make_model(config, 4, seed=1).double()
    resumed.load_state_dict(model.state_dict())
    for images in plain[:2]:  # in the sixth step the mean stands in, the seventh computes
        expected, ours = model.importance(model.plain(images)), resumed.importance(model.plain(images))
        for layer in expected:
            torch.testing.assert_close(ours[layer], expected[layer], rtol=1e-10, atol=1e-14)


def test_gradient_importance_asks_for_gradients(make_model: MakeModel) -> None:
    model = make_model(SuppressionConfig(layer="encoder.2", importance="gradient"), 4)
    with torch.no_grad(), pytest.raises(RuntimeError, match="needs gradients"):
        model.importance(model.plain(random_batch(0, 4, dtype=torch.float32).images_B3HW))


def test_gradient_importance_at_two_stages_the_later_with_channels_last(make_model: MakeModel) -> None:
    layers = ("encoder.1", "encoder.3")
    model = make_model(SuppressionConfig(layer=layers, importance="gradient"), 4).double()
    assert model.taps["encoder.3"].channels_last
    images_B3HW, maps, state = random_batch(0, 4).images_B3HW, {}, dict(model.named_parameters())
    reference.network(state, images_B3HW, lambda layer, maps_BKhw: maps.setdefault(layer, maps_BKhw))
    rows = reference.evaluated_gradients(state | dict(model.named_buffers()), images_B3HW, layers, maps)
    importance = model.importance(model.plain(images_B3HW))
    for layer in layers:
        torch.testing.assert_close(importance[layer], torch.stack([torch.stack(row_K) for row_K in rows[layer]]))


def test_gradient_importance_is_no_rounding_error_in_front_of_batch_norm() -> None:
    """A step's own statistics follow a shift of a channel, so the mean gradient through them alone is exactly zero."""
    torch.manual_seed(0)
    model = build_model(
        ModelConfig(arch="hrnet", encoder="tu-hrnet_w18_small", encoder_weights=None),
        4,
        SuppressionConfig(layer="branch.2", importance="gradient"),
    ).double()
    plain = model.plain(torch.randn(2, 3, 64, 64, dtype=torch.float64))
    gradient_BKhw = torch.autograd.grad(plain.logits_BChw[:, 1].sum(), plain.maps["branch.2"], retain_graph=True)[0]
    assert gradient_BKhw.mean(dim=(0, 2, 3)).abs().max() < 1e-12 * gradient_BKhw.abs().max()
    importance_CK = model.importance(plain)["branch.2"]
    assert importance_CK.abs().mean() > 1e-3 * gradient_BKhw.abs().mean()


def test_gradient_importance_by_hand() -> None:
    maps_BKhw = torch.rand(2, 3, 2, 2, generator=seeded(0), requires_grad=True)
    logits_BChw = torch.stack([maps_BKhw[:, 0] * 2, maps_BKhw[:, 1] - maps_BKhw[:, 2]], dim=1)
    (importance_CK,) = gradient_importance(logits_BChw, [maps_BKhw])
    torch.testing.assert_close(importance_CK, torch.tensor([[2.0, 0, 0], [0, 1, -1]]))


@pytest.mark.parametrize(
    ("layer", "passes"),
    [
        ("decoder", {"encoder.stages.2": 1, "encoder.stages.4": 1, "decoder": 1}),
        ("encoder.3", {"encoder.stages.2": 1, "encoder.stages.4": 2, "decoder": 2}),
        (("encoder.1", "decoder"), {"encoder.stages.2": 2, "encoder.stages.4": 2, "decoder": 2}),
    ],
)
def test_running_statistics_are_those_of_the_path_that_predicts(
    make_model: MakeModel, layer: str | tuple[str, ...], passes: dict[str, int]
) -> None:
    """Also: what lies below the first suppressed layer is computed once."""
    model = make_model(SuppressionConfig(layer=layer), 4).double()
    inputs: dict[str, list[Tensor]] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            keep = inputs.setdefault(name.removesuffix(".norm"), [])
            module.register_forward_pre_hook(lambda _, args, keep=keep: keep.append(args[0].detach()))
    two_path_losses(model, random_batch(2, 4), Drop.of(1, 4), None)
    assert {name: len(found) for name, found in inputs.items() if name in passes} == passes
    for name, found in inputs.items():
        norm = model.get_submodule(name + ".norm")
        momentum = 0.01 if name.startswith("blocks.") else 0.1
        assert norm.momentum == momentum
        values_KN = found[-1].transpose(0, 1).flatten(1)
        torch.testing.assert_close(norm.running_mean, momentum * values_KN.mean(dim=1))
        torch.testing.assert_close(norm.running_var, 1 - momentum + momentum * values_KN.var(dim=1))


def test_the_auxiliary_classifier_trains_itself_alone() -> None:
    block = SuppressionBlock(3, 2, SuppressionConfig().mechanism, "none", "auxiliary")
    maps_BKhw = torch.rand(1, 3, 2, 2, generator=seeded(0), requires_grad=True)
    labels_BHW = torch.tensor([[[0, 1], [IGNORE_INDEX, 1]]])
    auxiliary = block.auxiliary_loss(maps_BKhw, labels_BHW)
    assert auxiliary is not None
    expected = F.cross_entropy(block.auxiliary(maps_BKhw), labels_BHW, ignore_index=IGNORE_INDEX)
    torch.testing.assert_close(auxiliary, expected)
    auxiliary.backward()
    assert maps_BKhw.grad is None
    assert block.auxiliary.weight.grad.abs().max() > 0
    silent = SuppressionBlock(3, 2, SuppressionConfig().mechanism, "none", "classifier")
    assert silent.auxiliary_loss(maps_BKhw, labels_BHW) is None


# ---------------------------------------------------------------------------------------------------- losses


@settings(max_examples=60, deadline=None)
@given(
    seeds,
    st.sampled_from([None, (1.0, 2.0, 0.5), (0.0, 1.0, 0.0)]),
    st.sampled_from([0.0, 0.3, 0.95, 1.0]),
    st.integers(1, 3),
    st.integers(1, 2),
    st.sampled_from([loss.CHUNK, 300, 1]),
)
def test_path_cross_entropies_equal_torchs(
    seed: int, weights: tuple[float, ...] | None, ignored: float, images: int, paths: int, chunk: int
) -> None:
    """Also where nothing is left to average, which torch answers with NaN; and however many images a chunk holds."""
    generator = seeded(seed)
    logits_PBChw = [
        torch.randn(images, 3, 4, 5, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(paths)
    ]
    labels_PBHW = [torch.randint(3, (images, 8, 10), generator=generator) for _ in range(paths)]
    for labels_BHW in labels_PBHW:
        labels_BHW[torch.rand(labels_BHW.shape, generator=generator) < ignored] = IGNORE_INDEX
    weights_C = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    upsample = nn.UpsamplingBilinear2d(scale_factor=2)
    with mock.patch.object(loss, "CHUNK", chunk):
        found = path_cross_entropies(logits_PBChw, labels_PBHW, upsample, weights_C)
    factors = torch.rand(paths, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad(factors.dot(torch.stack(found)), logits_PBChw)
    for ours, gradient, factor, logits_BChw, labels_BHW in zip(
        found, gradients, factors, logits_PBChw, labels_PBHW, strict=True
    ):
        expected = F.cross_entropy(upsample(logits_BChw), labels_BHW, weights_C, ignore_index=IGNORE_INDEX)
        if expected.isnan():
            assert ours == 0
            assert (gradient == 0).all()
        else:
            torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
            (expected_gradient,) = torch.autograd.grad(factor * expected, logits_BChw)
            torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from([None, (1.0, 2.0, 0.5)]), st.integers(1, 2), st.sampled_from([9.0, 1e4, -1e30]))
def test_ignored_pixels_never_change_the_loss(
    seed: int, weights: tuple[float, ...] | None, groups: int, size: float
) -> None:
    """Neither those of the data nor those of a dropped class."""
    generator = seeded(seed)
    labels_BHW = torch.randint(3, (2, 4, 4), generator=generator)
    labels_BHW[torch.rand(2, 4, 4, generator=generator) < 0.3] = IGNORE_INDEX
    remaining_BHW = Drop(random_keep(seed, groups, 3)).labels(labels_BHW)
    nowhere_BHW = remaining_BHW == IGNORE_INDEX
    logits_BCHW = torch.randn(2, 3, 4, 4, generator=generator)
    noise_BCHW = torch.randn(2, 3, 4, 4, generator=generator) * nowhere_BHW[:, None] * size
    weights_C = None if weights is None else torch.tensor(weights)
    usual, noisy = logits_BCHW.clone().requires_grad_(), (logits_BCHW + noise_BCHW).requires_grad_()
    losses = [cross_entropy(logits, remaining_BHW, weights_C) for logits in (usual, noisy)]
    assert torch.equal(*losses)
    gradients = [torch.autograd.grad(*pair)[0] for pair in zip(losses, (usual, noisy), strict=True)]
    assert torch.equal(*gradients)
    assert (gradients[0].abs().sum(dim=1)[nowhere_BHW] == 0).all()


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_a_batch_without_labels_leaves_only_the_suppression_term(make_model: MakeModel, seed: int) -> None:
    model = make_model(SuppressionConfig(layer="encoder.4"), 4, seed=seed).double()
    images_B3HW = random_batch(seed, 4).images_B3HW
    nowhere = Batch(images_B3HW, torch.full((2, 18, 34), IGNORE_INDEX))
    losses, _ = two_path_losses(model, nowhere, Drop.of(2, 4), torch.ones(4, dtype=torch.float64))
    assert losses.plain == losses.suppressed == losses.auxiliary == 0
    assert losses.probability is not None
    torch.testing.assert_close(losses.total(0.5, 3.0), 3 * losses.probability)
    gradients = torch.autograd.grad(losses.total(0.5, 0.0), list(model.parameters()), materialize_grads=True)
    assert all((gradient == 0).all() for gradient in gradients)


def test_the_suppression_term_by_hand() -> None:
    logits_BChw = torch.zeros(1, 2, 1, 2)
    logits_BChw[0, 1, 0, 0] = math.log(3)
    assert float(suppressed_probability(logits_BChw, Drop.of(1, 2))) == pytest.approx((0.75 + 0.5) / 2)
    # three images in which class c has probability (1, 2, 3)/6, (2, 2, 2)/6 and (3, 2, 1)/6
    shares_BC = torch.tensor([[1.0, 2, 3], [2, 2, 2], [3, 2, 1]])
    logits_BChw = shares_BC.log()[:, :, None, None].expand(3, 3, 2, 2)
    keep_GC = torch.tensor([[1.0, 0, 0], [1, 1, 1], [0, 1, 1]])
    assert float(suppressed_probability(logits_BChw, Drop(keep_GC))) == pytest.approx((2.5 / 6 + 3 / 6) / 2)
    assert float(suppressed_probability(logits_BChw, Drop(keep_GC[:1]))) == pytest.approx(1 / 3)
    assert float(suppressed_probability(logits_BChw, Drop(torch.ones(3, 3)))) == 0


def test_labels_of_dropped_classes_are_ignored() -> None:
    labels_BHW = torch.tensor([[[0, 1, 255]], [[2, 1, 0]]])
    assert Drop.of(1, 3).labels(labels_BHW).tolist() == [[[0, 255, 255]], [[2, 255, 0]]]
    per_image = Drop(torch.tensor([[0.0, 1, 1], [1, 1, 1]]))
    assert per_image.labels(labels_BHW).tolist() == [[[255, 1, 255]], [[2, 1, 0]]]
    assert Drop(torch.ones(1, 3)).labels(labels_BHW).tolist() == labels_BHW.tolist()


def test_the_total_by_hand() -> None:
    terms = [torch.tensor(value) for value in (2.0, 3.0, 0.5, 7.0)]
    assert PathLosses(*terms).total(0.25, 10.0) == 0.75 * 2 + 0.25 * 3 + 10 * 0.5 + 7
    assert PathLosses(*terms[:2]).total(0.25, 10.0) == 0.75 * 2 + 0.25 * 3
    assert PathLosses(terms[0]).total(0.25, 10.0) == 2


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_coarse_labels_are_those_under_the_pixel_centres(height: int, width: int, rows: int, columns: int) -> None:
    labels_BHW = torch.randint(200, (1, height, width), generator=seeded(0))
    found_Bhw = labels_at(labels_BHW, (rows, columns))
    for i in range(rows):
        for j in range(columns):
            y, x = (2 * i + 1) * height // (2 * rows), (2 * j + 1) * width // (2 * columns)
            assert found_Bhw[0, i, j] == labels_BHW[0, y, x]


# ---------------------------------------------------------------------------------------------------- sampling

PIXELS_NC = [[900, 80, 0, 3], [900, 0, 40, 0], [700, 60, 0, 0], [800, 0, 30, 4], [900, 0, 30, 0]]
STATISTICS = ClassStatistics.of(PIXELS_NC)


def sampler(strategy: str, granularity: str = "batch", num_classes: int = 1, **options: float) -> ClassSampler:
    config = SuppressionConfig(sampling={"name": strategy, **options}, granularity=granularity, num_classes=num_classes)  # type: ignore[arg-type]
    made = ClassSampler(config, STATISTICS, CPU)
    if isinstance(made.strategy, DifficultyState):
        made.strategy.hits_C = torch.tensor([8.0, 3.0, 0.0, 1.0]).double()
        made.strategy.union_C = torch.tensor([10.0, 4.0, 0.0, 10.0]).double()
    return made


def labels_of(*images: tuple[int, ...]) -> Tensor:
    """Images of one row that hold the given classes and ignored pixels."""
    rows = [[*classes, *[IGNORE_INDEX] * (5 - len(classes))] for classes in images]
    return torch.tensor(rows)[:, None]


LABELS_BHW = labels_of((0, 1), (0, 2, 3), (0, 1, 2), ())


def dropped_of(keep_GC: Tensor) -> list[list[int]]:
    return [(keep_C == 0).nonzero().flatten().tolist() for keep_C in keep_GC]


def keep_of_groups(drop: Drop, group_B: list[int]) -> Tensor:
    """One row of each group that holds an image; the images of a group share it."""
    if len(drop.keep_GC) == 1:
        return drop.keep_GC
    assert len(drop.keep_GC) == len(group_B)
    rows = dict(zip(group_B, drop.keep_GC, strict=True))
    assert all(torch.equal(rows[group], keep_C) for group, keep_C in zip(group_B, drop.keep_GC, strict=True))
    return torch.stack([rows[group] for group in sorted(rows)])


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_draws_follow_the_weights(strategy: str, granularity: str) -> None:
    ours, generator, probability = sampler(strategy, granularity), seeded(11), 0.8
    group_B = groups_of(granularity, len(LABELS_BHW))
    groups = len(set(group_B))
    draws = 2400 // groups
    counts_GC, sequence = torch.zeros(groups, 4, dtype=torch.float64), []
    for _ in range(draws):
        drop = ours.draw(LABELS_BHW, probability, generator)
        if drop is not None:
            keep_GC = keep_of_groups(drop, group_B)
            counts_GC += 1 - keep_GC
            sequence += [z for classes in dropped_of(keep_GC) for z in classes]
    dropped = int(counts_GC.sum())
    happened = [dropped, draws * groups - dropped]
    assert chisquare(happened, [draws * groups * share for share in (0.8, 0.2)]).pvalue > 1e-3
    if strategy == "round_robin":
        assert sequence == [i % 4 for i in range(len(sequence))]
        return
    weights_GC = ours.weights(LABELS_BHW).expand(groups, 4)
    torch.testing.assert_close(weights_GC.sum(dim=1), torch.ones(groups, dtype=torch.float64))
    assert (counts_GC[weights_GC == 0] == 0).all()
    expected_GC = weights_GC * counts_GC.sum(dim=1, keepdim=True)
    possible = expected_GC > 0
    statistic = ((counts_GC - expected_GC)[possible].square() / expected_GC[possible]).sum()
    assert chi2.sf(float(statistic), int(possible.sum()) - groups) > 1e-3


def test_the_weights_of_every_strategy_by_hand() -> None:
    def weights(strategy: str, granularity: str = "batch", **options: float) -> list[list[float]]:
        return [pytest.approx(row) for row in sampler(strategy, granularity, **options).weights(LABELS_BHW).tolist()]

    even = [0.25] * 4
    assert weights("uniform") == [even]
    assert weights("round_robin") == [even]
    assert weights("present") == [even]
    half, third = 1 / 2, 1 / 3
    assert weights("present", "image") == [[half, half, 0, 0], [third, 0, third, third], [third, third, third, 0], even]
    assert weights("present", "groups") == [[half, half, 0, 0], even], "of the first image, and of the other three"
    assert weights("frequency") == [[4200 / 4447, 140 / 4447, 100 / 4447, 7 / 4447]]
    raw = [(7 / pixels) ** 0.5 for pixels in (4200, 140, 100, 7)]
    assert weights("inverse_frequency", tau=0.5) == [[value / sum(raw) for value in raw]]
    raw = [0.5 / (1 - 0.5**images) for images in (5, 2, 3, 2)]
    assert weights("effective_number", beta=0.5) == [[value / sum(raw) for value in raw]]
    raw = [math.exp((1 - pixels / 4447) / 0.5) for pixels in (4200, 140, 100, 7)]
    assert weights("temperature", temperature=0.5) == [[value / sum(raw) for value in raw]]
    raw = [(1 - iou) ** 2 for iou in (0.8, 0.75, 1 - (0.2 + 0.25 + 0.9) / 3, 0.1)]  # class 2 was not met
    assert weights("difficulty", tau=2) == [[value / sum(raw) for value in raw]]
    # Class 3 alone is rare (7 of 4447 pixels), in images 0 and 3. Class 0 is in all: no evidence. Of the 2 images with
    # class 1, 1 holds class 3, and 1 of the 3 without; of the 3 with class 2, 1 holds it, and 1 of the 2 without.
    raw = [1, (1.5 / 3) / (1.5 / 4), (1.5 / 4) / (1.5 / 3), 0]
    assert weights("co_occurrence") == [[value / sum(raw) for value in raw]]


def test_listed_draws_all_its_classes_each_time_and_no_other() -> None:
    config = SuppressionConfig(sampling={"name": "listed", "classes": ("d", "b")}, granularity="image", num_classes=3)
    ours = ClassSampler(config, STATISTICS, CPU, names=("a", "b", "c", "d"))
    uniform, generators = sampler("uniform", "image"), (seeded(3), seeded(3))
    for _ in range(20):
        drop, other = (s.draw(LABELS_BHW, 0.6, g) for s, g in zip((ours, uniform), generators, strict=True))
        assert (drop is None) == (other is None), "the coins of any other strategy"
        if drop is not None and other is not None:
            assert drop.seed == other.seed
            dropping = [bool(classes) for classes in dropped_of(other.keep_GC)]
            assert dropped_of(drop.keep_GC) == [[1, 3] if drops else [] for drops in dropping]
    with pytest.raises(ValueError, match="not in tuple"):
        ClassSampler(config, STATISTICS, CPU, names=("a", "b", "c", "e")).weights(LABELS_BHW)


def test_without_a_difference_between_classes_draws_are_uniform() -> None:
    assert sampler("present").weights(labels_of((), ())).tolist() == [[0.25] * 4]
    fresh = ClassSampler(SuppressionConfig(sampling={"name": "difficulty"}), STATISTICS, CPU)
    assert fresh.weights(LABELS_BHW).tolist() == [[0.25] * 4]
    nothing = ClassStatistics.of([[0, 0, 0]])
    for strategy in STRATEGIES:
        config = SuppressionConfig(sampling={"name": strategy})
        weights_GC = ClassSampler(config, nothing, CPU).weights(labels_of((0, 1, 2)))
        assert weights_GC.tolist() == [[pytest.approx(1 / 3)] * 3], strategy


def test_weight_functions_by_hand() -> None:
    def statistics(pixels: tuple[int, ...], images: tuple[int, ...] = ()) -> ClassStatistics:
        return ClassStatistics(pixels, images, (), 10)

    found = inverse_frequency(statistics((1000, 100, 0, 10)), 0.5).tolist()
    assert found == pytest.approx([0.1, 0.1**0.5, 1, 1])
    assert effective_number(statistics((), (1, 2, 0, 3)), 0.5).tolist() == pytest.approx([1, 2 / 3, 1, 4 / 7])
    assert effective_number(statistics((), (1, 9)), 0.0).tolist() == [1, 1]
    found = temperature(statistics((3, 1)), 0.5).tolist()
    assert found == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e)])
    hits_C, union_C = torch.tensor([3.0, 0, 0]).double(), torch.tensor([4.0, 2, 0]).double()
    assert difficulties(hits_C, union_C).tolist() == [0.25, 1, 0.625]


def test_co_occurrence_by_hand() -> None:
    # classes 2 and 3 are rare; 2 appears with 1 alone, 3 in half of the images whatever else is there
    pixels_NC = [[900, 90, 3, 3], [900, 90, 3, 0], [900, 0, 0, 3], [900, 0, 0, 0]]
    of_2 = [1, (2.5 / 3) / (0.5 / 3)]
    of_3 = [1, (1.5 / 3) / (1.5 / 3), (1.5 / 3) / (1.5 / 3)]
    found = co_occurrence(ClassStatistics.of(pixels_NC)).tolist()
    assert found == pytest.approx([1, (of_2[1] + of_3[1]) / 2, of_3[2], (1.5 / 3) / (1.5 / 3)])
    # saturated: every class in every image, nothing predicts anything
    assert co_occurrence(ClassStatistics.of([[900, 90, 3, 3]] * 5)).tolist() == [1, 1, 1, 1]
    # no rare class: the rarest one counts
    found = co_occurrence(ClassStatistics.of([[50, 0, 30], [50, 40, 0]])).tolist()
    assert found == pytest.approx([1, 0.0 + (0.5 / 2) / (1.5 / 2), 0])


statistics_of = st.integers(2, 8).flatmap(
    lambda classes: st.lists(
        st.lists(st.just(0) | st.integers(0, 10**10), min_size=classes, max_size=classes), min_size=1, max_size=6
    )
).map(ClassStatistics.of)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(
    statistics_of,
    st.floats(0, 10, exclude_min=True),
    st.floats(0, 1, exclude_max=True),
    st.floats(1e-6, 100),
)
def test_weight_functions_are_always_finite_and_never_negative(
    statistics: ClassStatistics, tau: float, beta: float, heat: float
) -> None:
    found = {
        "inverse_frequency": inverse_frequency(statistics, tau),
        "effective_number": effective_number(statistics, beta),
        "temperature": temperature(statistics, heat),
        "co_occurrence": co_occurrence(statistics),
    }
    for name, weights_C in found.items():
        assert weights_C.shape == (len(statistics.pixels),), name
        assert torch.isfinite(weights_C).all(), name
        assert (weights_C >= 0).all(), name
    assert inverse_frequency(statistics, tau).max() == 1
    for name, options in (("inverse_frequency", {"tau": tau}), ("temperature", {"temperature": heat}),
                          ("effective_number", {"beta": beta}), ("co_occurrence", {}), ("frequency", {})):  # fmt: skip
        config = SuppressionConfig(sampling={"name": name, **options})
        weights_GC = ClassSampler(config, statistics, CPU).weights(labels_of((0,)))
        assert (weights_GC >= 0).all(), name
        assert float(weights_GC.sum()) == pytest.approx(1), name


def test_the_smallest_temperature_is_finite() -> None:
    config = SuppressionConfig(sampling={"name": "temperature", "temperature": 1e-6})
    assert torch.isfinite(temperature(STATISTICS, config.sampling.temperature)).all()
    with pytest.raises(ValidationError):
        SuppressionConfig(sampling={"name": "temperature", "temperature": 1e-7})


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 10**9)), min_size=1, max_size=8), st.floats(1e-3, 10))
def test_difficulties_are_always_shares(ious: list[tuple[float, float]], tau: float) -> None:
    union_C = torch.tensor([union for _, union in ious], dtype=torch.float64)
    hits_C = torch.tensor([iou * union for iou, union in ious], dtype=torch.float64)
    difficulty_C = difficulties(hits_C, union_C)
    assert ((difficulty_C >= 0) & (difficulty_C <= 1)).all()
    assert torch.isfinite(difficulty_C**tau).all()


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(STRATEGIES),
    st.sampled_from(GRANULARITIES),
    st.integers(1, 3),
    st.lists(st.sets(st.integers(0, 3)).map(tuple), min_size=1, max_size=4),
    st.sampled_from([0.5, 1.0]),
    seeds,
)
def test_a_draw_takes_exactly_as_many_classes_as_have_weight(
    strategy: str, granularity: str, num_classes: int, images: list[tuple[int, ...]], probability: float, seed: int
) -> None:
    ours, labels_BHW = sampler(strategy, granularity, num_classes), labels_of(*images)
    drop = ours.draw(labels_BHW, probability, seeded(seed))
    if drop is None:
        assert probability < 1
        return
    group_B = groups_of(granularity, len(images))
    keep_GC, occupied = keep_of_groups(drop, group_B), sorted(set(group_B))
    assert keep_GC.shape == (len(occupied), 4)
    assert ((keep_GC == 0) | (keep_GC == 1)).all()
    assert drop.share == sum(map(bool, dropped_of(keep_GC))) / len(occupied) or strategy == "present"
    weights_GC = ours.weights(labels_BHW).expand(max(occupied) + 1, 4)[occupied]
    for classes, weights_C in zip(dropped_of(keep_GC), weights_GC, strict=True):
        if classes or probability == 1:
            assert len(classes) == min(num_classes, int((weights_C > 0).sum()))
        assert all(weights_C[z] > 0 for z in classes)


def sequence_of(strategy: str, granularity: str, probability: float, **options: int) -> list[Drop | None]:
    ours, generator = sampler(strategy, granularity, **options), seeded(7)
    return [ours.draw(LABELS_BHW, probability, generator) for _ in range(60)]


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("num_classes", [1, 2])
def test_draws_repeat_and_the_probability_only_decides_whether(
    strategy: str, granularity: str, num_classes: int
) -> None:
    always = sequence_of(strategy, granularity, 1.0, num_classes=num_classes)
    again = sequence_of(strategy, granularity, 1.0, num_classes=num_classes)
    often = sequence_of(strategy, granularity, 0.6, num_classes=num_classes)
    assert sequence_of(strategy, granularity, 0.0, num_classes=num_classes) == [None] * 60
    assert any(drop is None for drop in often) or granularity != "batch"
    for first, second in zip(always, again, strict=True):
        assert first is not None
        assert second is not None
        assert torch.equal(first.keep_GC, second.keep_GC)
        assert first.seed == second.seed
    if strategy == "round_robin":  # a step that drops nothing uses up no turn
        group_B = groups_of(granularity, len(LABELS_BHW))
        kept = [[keep_of_groups(drop, group_B) for drop in drops if drop] for drops in (often, always)]
        flat = [[z for keep_GC in keeps for classes in dropped_of(keep_GC) for z in classes] for keeps in kept]
        if num_classes == 1:
            assert flat[0] == flat[1][: len(flat[0])]
        return
    for sometimes, whole in zip(often, always, strict=True):
        if sometimes is None:
            continue
        assert whole is not None
        assert sometimes.seed == whole.seed
        for ours, theirs in zip(dropped_of(sometimes.keep_GC), dropped_of(whole.keep_GC), strict=True):
            assert ours in ([], theirs)


def test_groups_are_neighbours_and_as_large_as_their_shares() -> None:
    """Halves are rounded up, at each end of a group: nothing is lost, and few images leave a group empty."""

    def sizes(images: int, *shares: int) -> list[int]:
        grouping = Grouping.of(Groups(name="groups", shares=shares), images)
        assert grouping.group_B.tolist() == sorted(grouping.group_B.tolist())
        found = [grouping.group_B.tolist().count(group) for group in range(grouping.groups)]
        assert [bool(count) for count in found] == grouping.occupied.tolist()
        return found

    assert sizes(48, 1, 3) == [12, 36], "the official code's"
    assert [sizes(images, 1, 3) for images in (1, 2, 3, 5, 6)] == [[0, 1], [1, 1], [1, 2], [1, 4], [2, 4]]
    assert [sizes(images, 1, 1, 1) for images in (1, 2, 4, 5)] == [[0, 1, 0], [1, 0, 1], [1, 2, 1], [2, 1, 2]]
    assert sizes(7, 5) == [7]
    assert sizes(3, 1, 1, 1, 1, 1, 1) == [1, 0, 1, 0, 1, 0]


def test_one_group_draws_as_the_batch_and_as_many_as_images_draw_as_images() -> None:
    for shares, same in (((4,), "batch"), ((1,) * 4, "image")):
        for strategy in STRATEGIES:
            groups = SuppressionConfig(sampling={"name": strategy}, granularity={"name": "groups", "shares": shares})  # type: ignore[arg-type]
            ours, theirs = (
                ClassSampler(groups, STATISTICS, CPU),
                ClassSampler(sampler(strategy, same).suppression, STATISTICS, CPU),
            )
            pairs = [[one.draw(LABELS_BHW, 0.6, seeded(step)) for one in (ours, theirs)] for step in range(20)]
            assert all((a is None) == (b is None) for a, b in pairs)
            assert all(torch.equal(a.keep_GC, b.keep_GC) and a.seed == b.seed for a, b in pairs if a and b)


def test_an_empty_group_drops_nothing_and_uses_up_no_turn() -> None:
    ours = sampler("round_robin", "groups")
    drops = [ours.draw(LABELS_BHW[:1], 1.0, seeded(step)) for step in range(4)]  # the first of two groups is empty
    assert [dropped_of(drop.keep_GC) for drop in drops if drop] == [[[0]], [[1]], [[2]], [[3]]]
    assert [drop.share for drop in drops if drop] == [1.0] * 4


def test_draws_of_batch_and_image_are_what_they_were() -> None:
    """Drawn by hand: a coin, then noise of each class, then a seed, for all groups at once."""
    for granularity, groups in (("batch", 1), ("image", 4)):
        generator, ours = seeded(3), seeded(3)
        for _ in range(5):
            coins_G = torch.rand(groups, generator=generator, dtype=torch.float64)
            noise_GC = torch.rand(groups, 4, generator=generator, dtype=torch.float64)
            seed = int(torch.randint(2**62, (), generator=generator))
            drop = sampler("uniform", granularity).draw(LABELS_BHW, 0.5, ours)
            largest = [
                int(noise_C.argmax()) if coin < 0.5 else None for noise_C, coin in zip(noise_GC, coins_G, strict=True)
            ]
            if drop is None:
                assert largest == [None] * groups
                continue
            assert dropped_of(drop.keep_GC) == [[] if z is None else [z] for z in largest]
            assert drop.seed == seed
            assert not drop.over_all


def test_draws_of_several_classes_differ_and_turns_go_on() -> None:
    ours, generator = sampler("round_robin", "image", 2), seeded(0)
    drops = [ours.draw(LABELS_BHW, 1.0, generator) for _ in range(3)]
    assert [dropped_of(drop.keep_GC) for drop in drops if drop] == [[[0, 1], [2, 3]] * 2] * 3
    ours, seeds_seen = sampler("uniform"), set()
    for _ in range(20):
        drop = ours.draw(LABELS_BHW, 1.0, generator)
        assert drop is not None
        seeds_seen.add(drop.seed)
    assert len(seeds_seen) == 20, "random channels differ from step to step"


@pytest.mark.parametrize("strategy", ["difficulty", "round_robin"])
def test_a_sampler_continues_from_its_state(strategy: str) -> None:
    def step(ours: ClassSampler, number: int) -> Drop | None:
        generator = seeded(number)
        ours.observe(torch.randn(4, 4, 1, 5, generator=generator), LABELS_BHW, None)
        return ours.draw(LABELS_BHW, 1.0, generator)

    whole, begun = sampler(strategy), sampler(strategy)
    expected = [step(whole, number) for number in range(10)]
    for number in range(5):
        step(begun, number)
    resumed = ClassSampler(begun.suppression, STATISTICS, CPU)
    every = {"hits": torch.zeros(4), "union": torch.zeros(4), "turn": 0}  # older checkpoints hold all strategies' state
    resumed.load_state_dict({**every, **begun.state_dict()})
    for number in range(5, 10):
        drop = step(resumed, number)
        assert drop is not None
        assert torch.equal(drop.keep_GC, expected[number].keep_GC)


def test_difficulty_learns_from_batches() -> None:
    ours = ClassSampler(SuppressionConfig(sampling={"name": "difficulty", "momentum": 0.5}), STATISTICS, CPU)
    labels_BHW = torch.tensor([[[0, 0, 1, 1, IGNORE_INDEX, 9]]])[:, :, :5]
    predicted = [0, 1, 1, 1, 2]
    logits_BChw = F.one_hot(torch.tensor(predicted), 4).float().T[None, :, None]
    ours.observe(logits_BChw, labels_BHW, None)
    assert ours.strategy.hits_C.tolist() == [0.5, 1, 0, 0]
    assert ours.strategy.union_C.tolist() == [1, 1.5, 0, 0], "what is predicted on an ignored pixel does not count"
    ours.observe(logits_BChw, labels_BHW, None)
    assert ours.strategy.hits_C.tolist() == [0.75, 1.5, 0, 0]
    assert ours.strategy.union_C.tolist() == [1.5, 2.25, 0, 0]
    other = sampler("uniform")
    other.observe(logits_BChw, labels_BHW, None)
    assert other.state_dict() == {}, "the other strategies have nothing to learn"


# ---------------------------------------------------------------------------------------------------- schedules


def test_the_official_setting_is_the_default() -> None:
    official = SuppressionConfig()
    assert (official.layers, official.p_max, official.alpha, official.num_classes) == (("decoder",), 1, 10, 1)
    assert (official.granularity.name, official.gate_norm, official.progress) == ("batch", "none", "epoch")
    assert (official.sampling.name, official.mechanism.name) == ("uniform", "gate")
    assert (official.schedule.name, official.loss_ramp.name) == ("linear", "linear")
    assert official.importance_at("decoder") == "classifier"
    assert official.importance_at("encoder.2") == "auxiliary"


def test_progress_begins_at_zero_and_ends_before_one() -> None:
    epochs, iterations = SuppressionConfig(), SuppressionConfig(progress="iteration")
    assert [progress(epochs, epoch, 4, step, 2) for epoch in (1, 2, 3, 4) for step in (1, 2)] == [
        0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75,
    ]  # fmt: skip
    found = [progress(iterations, epoch, 4, step, 2) for epoch in (1, 2, 3, 4) for step in (1, 2)]
    assert found == [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"name": "linear"}, [0, 0.25, 0.5, 0.75]),
        ({"name": "constant"}, [1, 1, 1, 1]),
        ({"name": "warmup_constant", "warmup": 0.5}, [0, 0.5, 1, 1]),
        ({"name": "warmup_constant"}, [0, 1, 1, 1]),
        ({"name": "cosine"}, [0, (1 - 0.5**0.5) / 2, 0.5, (1 + 0.5**0.5) / 2]),
    ],
)
def test_schedules_of_the_probability(schedule: dict[str, object], expected: list[float]) -> None:
    for p_max in (1.0, 0.4, 0.0):
        config = SuppressionConfig(schedule=schedule, p_max=p_max)  # type: ignore[arg-type]
        found = [drop_probability(config, u) for u in (0, 0.25, 0.5, 0.75)]
        assert found == pytest.approx([p_max * share for share in expected])


@pytest.mark.parametrize(
    ("ramp", "expected"),
    [
        ({"name": "linear"}, [0, 0.25, 0.5, 0.75]),
        ({"name": "constant"}, [0.5, 0.5, 0.5, 0.5]),
        ({"name": "constant", "weight": 0.9}, [0.9, 0.9, 0.9, 0.9]),
        ({"name": "cosine"}, [0, (1 - 0.5**0.5) / 2, 0.5, (1 + 0.5**0.5) / 2]),
    ],
)
def test_ramps_of_the_loss(ramp: dict[str, object], expected: list[float]) -> None:
    config = SuppressionConfig(loss_ramp=ramp, p_max=0.3)  # type: ignore[arg-type]
    assert [suppressed_weight(config, u) for u in (0, 0.25, 0.5, 0.75)] == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([{"name": "linear"}, {"name": "constant"}, {"name": "warmup_constant"}, {"name": "cosine"}]),
    st.floats(0, 1),
    st.lists(st.floats(0, 1), min_size=2, max_size=6),
)
def test_schedules_never_fall_and_stay_within_their_end(
    schedule: dict[str, object], p_max: float, progresses: list[float]
) -> None:
    config = SuppressionConfig(schedule=schedule, p_max=p_max)  # type: ignore[arg-type]
    found = [drop_probability(config, u) for u in sorted(progresses)]
    assert all(0 <= p <= p_max for p in found)
    assert all(earlier <= later for earlier, later in pairwise(found))


def test_difficulty_counts_what_was_suppressed_neither_as_label_nor_as_prediction() -> None:
    config = SuppressionConfig(sampling={"name": "difficulty", "momentum": 0.0})
    sampler = ClassSampler(config, ClassStatistics.of([[1, 1, 1]]), torch.device("cpu"))
    labels_BHW = torch.tensor([[[0, 1, 2, IGNORE_INDEX]]])
    logits_BChw = torch.eye(3)[[0, 1, 1, 0]].T[None, :, None, :]  # predicts 0, 1, 1, 0
    sampler.observe(logits_BChw, labels_BHW, None)
    assert sampler.strategy.hits_C.tolist() == [1, 1, 0]
    assert sampler.strategy.union_C.tolist() == [1, 2, 1]
    sampler.observe(logits_BChw, labels_BHW, Drop.of(1, 3))
    assert sampler.strategy.hits_C.tolist() == [1, 0, 0]
    assert sampler.strategy.union_C.tolist() == [1, 0, 1]
