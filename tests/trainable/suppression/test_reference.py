"""Logits, losses and gradients of the library against the slow reference, over every combination of its options."""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product

import pytest
import reference
import torch
from reference import IGNORED, Setting
from torch import Tensor, nn

from trainable.model.segmenter import Segmenter
from trainable.suppression.config import SuppressionConfig
from trainable.suppression.drop import Drop
from trainable.train.step import Batch, plain_losses, two_path_losses

CLASSES, BATCH, SIZE = 4, 3, (18, 34)
CLASS_WEIGHTS = (0.5, 2.0, 1.0, 3.0)
LOST_DIGITS = 20
"""How much more than the reference in float32 the library may lose where both lose: sums are ordered differently."""

LISTS = (("encoder.3", "decoder"), ("encoder.3", "encoder.5"))
LAYERS = ("decoder", "encoder.1", "encoder.2", "encoder.3", "encoder.4", "encoder.5", *LISTS)
PLACES = [
    ("classifier", "decoder"),
    *product(("gradient", "auxiliary"), LAYERS),
    ("auto", LISTS[0]),  # auxiliary at the stage, the classifier's weights at the decoder
]
MECHANISMS = [("gate", "none"), ("gate", "mean"), ("random_channels", "none"), ("random_channels", "mean"),
              ("hard", "none"), ("projection", "none")]  # fmt: skip
DROPS: dict[str, Sequence[Sequence[int]] | None] = {
    "none": None,
    "one": [[2]] * BATCH,
    "two": [[0, 3]] * BATCH,
    "images": [[1], [], [3]],
    "images_two": [[], [0, 2], [3, 1]],
    "images_of_ranks": [[2], [], []],
}
COMBINATIONS = list(product(MECHANISMS, PLACES, DROPS))
CHECKERED = [index for index in range(len(COMBINATIONS)) if (index // len(DROPS) + index) % 2 == 0]
"""Half of them: every mechanism meets every place, and both meet every kind of drop."""
EVALUATIONS = [combination for combination in COMBINATIONS if combination[-1] == "none"]


@dataclass(frozen=True)
class Case:
    config: SuppressionConfig
    setting: Setting
    drop: Drop | None
    kernel: int
    weight: float
    alpha: float
    seed: int


def make_case(index: int) -> Case:
    """What is not in the name of a combination varies with its number: each meets each of them."""
    (mechanism, norm), (importance, layer), drops = COMBINATIONS[index]
    q = (0.33, 0.6)[index // 5 % 2]
    config = SuppressionConfig(
        layer=layer,
        importance=importance,
        gate_norm=norm,
        mechanism={"name": mechanism, "q": q} if mechanism == "hard" else {"name": mechanism},
    )  # type: ignore[arg-type]
    dropped = DROPS[drops]
    drop = None
    if dropped is not None:
        keep_BC = torch.tensor([[0.0 if c in classes else 1.0 for c in range(CLASSES)] for classes in dropped])
        drop = Drop(keep_BC if drops.startswith("images") else keep_BC[:1], seed=1000 + index)
        drop = replace(drop, over_all=drops.endswith("ranks"))
    setting = Setting(
        mechanism,
        layers=(layer,) if isinstance(layer, str) else tuple(layer),
        importance={
            name: {"decoder": "classifier"}.get(name, "auxiliary") if importance == "auto" else importance
            for name in ((layer,) if isinstance(layer, str) else layer)
        },
        gate_norm=norm,
        q=q,
        dropped=dropped,
        ranks=drops.endswith("ranks"),
        seed=1000 + index,
        class_weights=CLASS_WEIGHTS if index % 2 else None,
    )
    weight, alpha = torch.rand(2, generator=torch.Generator().manual_seed(index)).tolist()
    return Case(config, setting, drop, (3, 1)[index // 2 % 2], weight, 30 * alpha, index)


def make_batch(seed: int, dtype: torch.dtype = torch.float32) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images_B3HW = torch.randn(BATCH, 3, *SIZE, generator=generator).to(dtype)
    labels_BHW = torch.randint(CLASSES, (BATCH, *SIZE), generator=generator)
    labels_BHW[torch.rand(BATCH, *SIZE, generator=generator) < 0.2] = IGNORED
    return Batch(images_B3HW, labels_BHW)


def gradients_of(loss: Tensor, model: nn.Module) -> dict[str, Tensor]:
    parameters = dict(model.named_parameters())
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


def relative_error(ours: Tensor, theirs: Tensor, floor: float = 0.0) -> float:
    """Largest difference as a share of the largest value, or of ``floor``."""
    ours, theirs = ours.detach().double(), theirs.detach()
    scale = max(float(theirs.abs().max()), floor)
    error = float((ours - theirs).abs().max()) / (scale or 1.0)
    return error if math.isfinite(error) else math.inf  # a NaN would pass through max()


def case_name(index: int) -> str:
    (mechanism, norm), (importance, layer), drops = COMBINATIONS[index]
    return "-".join([mechanism, norm, importance, layer if isinstance(layer, str) else "+".join(layer), drops])


@dataclass(frozen=True)
class Found:
    """What a step computes; logits and losses in the same order from the library and the reference."""

    logits: Sequence[Tensor]
    losses: Sequence[Tensor | None]
    gradients: dict[str, Tensor]


def library(case: Case, model: Segmenter) -> Found:
    dtype = model.classifier.weight.dtype
    weights_C = None if case.setting.class_weights is None else torch.tensor(CLASS_WEIGHTS, dtype=dtype)
    before = deepcopy(model.state_dict())
    losses, plain = two_path_losses(model, make_batch(case.seed, dtype), case.drop, weights_C)
    total = losses.total(case.weight, case.alpha)
    gradients = gradients_of(total, model)
    model.load_state_dict(before)  # the step moved running statistics, on which gradient importance rests
    suppressed_BChw = model.suppressed(plain, case.drop, model.importance(plain))
    model.load_state_dict(before)
    return Found(
        [plain.logits_BChw, suppressed_BChw],
        [losses.plain, losses.suppressed, losses.probability, losses.auxiliary, total],
        gradients,
    )


def slow(case: Case, model: Segmenter) -> Found:
    batch = make_batch(case.seed, model.classifier.weight.dtype)
    parameters, running = dict(model.named_parameters()), dict(model.named_buffers())
    terms = reference.two_paths(parameters, running, batch.images_B3HW, batch.labels_BHW, case.setting)
    total = terms.total(case.weight, case.alpha)
    return Found(
        [terms.plain_logits_BChw, terms.suppressed_logits_BChw],
        [terms.plain, terms.suppressed, terms.probability, terms.auxiliary, total],
        gradients_of(total, model),
    )


def errors_of(ours: Found, expected: Found) -> dict[str, dict[str, float]]:
    """Relative errors by quantity and name."""
    single = ours.logits[0].dtype == torch.float32
    largest = max(float(gradient.abs().max()) for gradient in expected.gradients.values())

    def floor(name: str) -> float:
        if name.endswith("conv.bias") and name.replace("conv.bias", "norm.bias") in expected.gradients:
            # Zero by theory: a sum that cancels, of gradients up to 1/sqrt(eps) times those behind the BatchNorm.
            return largest / 1e-5**0.5
        return largest if single else 1e-3 * largest

    assert [loss is None for loss in ours.losses] == [loss is None for loss in expected.losses]
    return {
        "logits": {
            str(i): relative_error(*pair) for i, pair in enumerate(zip(ours.logits, expected.logits, strict=True))
        },
        "losses": {
            str(i): relative_error(mine, theirs)
            for i, (mine, theirs) in enumerate(zip(ours.losses, expected.losses, strict=True))
            if mine is not None and theirs is not None
        },
        "gradients": {
            name: relative_error(ours.gradients[name], gradient, floor(name))
            for name, gradient in expected.gradients.items()
        },
    }


@pytest.mark.parametrize("index", CHECKERED, ids=case_name)
def test_the_step_equals_the_slow_reference(
    index: int, make_model: Callable[..., Segmenter], worst: dict[tuple[str, str], list[float]]
) -> None:
    case = make_case(index)
    single = make_model(case.config, CLASSES, case.kernel, seed=case.seed)
    double = deepcopy(single).double()
    expected = slow(case, double)
    for quantity, errors in errors_of(library(case, double), expected).items():
        worst["float64", quantity].append(max(errors.values()))
        assert max(errors.values()) <= 1e-10, f"float64 {quantity}: {errors}"
    for quantity, errors in errors_of(library(case, single), expected).items():
        error = max(errors.values())
        if error <= 1e-5:
            worst["float32", quantity].append(error)
            continue
        # Gradients through BatchNorm nearly cancel, as do small gates beside its eps: then float32 loses digits
        # whatever the code is. How many shows the reference when it is computed in float32 itself.
        lost = max(errors_of(slow(case, single), expected)[quantity].values())
        worst["float32 where the reference in float32 loses as much", quantity].append(error)
        assert error <= LOST_DIGITS * lost, f"float32 {quantity}: {error:.1e}, the reference {lost:.1e}: {errors}"


@pytest.mark.parametrize("number", range(len(EVALUATIONS)), ids=lambda n: case_name(COMBINATIONS.index(EVALUATIONS[n])))
def test_the_prediction_equals_the_slow_reference(
    number: int, make_model: Callable[..., Segmenter], worst: dict[tuple[str, str], list[float]]
) -> None:
    case = make_case(COMBINATIONS.index(EVALUATIONS[number]))
    model = make_model(case.config, CLASSES, case.kernel, seed=case.seed).double().eval()
    generator = torch.Generator().manual_seed(case.seed)
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            spread = torch.rand if name.endswith("running_var") else torch.randn
            buffer.copy_(spread(buffer.shape, generator=generator))
    images_B3HW = make_batch(case.seed, torch.float64).images_B3HW
    with torch.no_grad():
        expected_BCHW = reference.prediction(model.state_dict(), images_B3HW, case.setting)
        error = relative_error(model(images_B3HW), expected_BCHW)
        plain_BCHW = model.upsample(model.plain(images_B3HW).logits_BChw)
    worst["float64", "predictions"].append(error)
    assert error <= 1e-10
    assert relative_error(plain_BCHW, expected_BCHW) > 1e-3, "the block is not the identity at evaluation"


@pytest.mark.parametrize("weights", [None, CLASS_WEIGHTS])
def test_the_plain_step_equals_the_slow_reference(
    weights: tuple[float, ...] | None, make_model: Callable[..., Segmenter]
) -> None:
    model, batch = make_model(None, CLASSES).double(), make_batch(5, torch.float64)
    losses = plain_losses(model, batch, None if weights is None else torch.tensor(weights, dtype=torch.float64))
    assert (losses.suppressed, losses.probability, losses.auxiliary) == (None, None, None)
    logits_BChw = reference.network(dict(model.named_parameters()), batch.images_B3HW, lambda _, maps: maps)
    expected = reference.cross_entropy(reference.upsample(logits_BChw), batch.labels_BHW, [()] * BATCH, weights)
    assert relative_error(losses.total(0.7, 9.0), expected) <= 1e-12
    expected_gradients = gradients_of(expected, model)
    largest = max(float(gradient.abs().max()) for gradient in expected_gradients.values())
    for name, gradient in gradients_of(losses.total(0.7, 9.0), model).items():
        assert relative_error(gradient, expected_gradients[name], largest) <= 1e-12, name


@pytest.mark.parametrize("weights", [None, CLASS_WEIGHTS])
@pytest.mark.parametrize("dropped", [[[], []], [[1], [1]], [[0, 2], []]])
def test_the_reference_equals_its_scalar_self(
    weights: tuple[float, ...] | None, dropped: Sequence[Sequence[int]]
) -> None:
    generator = torch.Generator().manual_seed(6)
    logits_BCHW = torch.randn(2, CLASSES, 5, 6, generator=generator, dtype=torch.float64)
    labels_BHW = make_batch(6).labels_BHW[:2, :5, :6]
    ours = reference.cross_entropy(logits_BCHW, labels_BHW, dropped, weights)
    theirs = reference.scalar_cross_entropy(logits_BCHW, labels_BHW, dropped, weights)
    assert relative_error(ours, theirs) <= 1e-14
