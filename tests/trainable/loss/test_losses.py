"""Every loss against its slow self, and what holds for all: ignored pixels, missing classes, precision, gradients."""

import json
from functools import partial
from typing import Any, get_args

import pytest
import segmentation_models_pytorch as smp
import slow_losses as slow
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch import Tensor, nn

from trainable.data.classes import IGNORE_INDEX
from trainable.data.statistics import ClassStatistics
from trainable.loss.build import build_loss
from trainable.loss.config import BuiltInLoss, Loss
from trainable.model.build import build_model
from trainable.model.config import ModelConfig
from trainable.suppression.config import SuppressionConfig
from trainable.suppression.drop import Drop
from trainable.suppression.loss import PathLoss, PathLosses
from trainable.train.compute import Compute
from trainable.train.step import Batch, suppressed_losses

C = 4
PIXELS = (900, 90, 10, 0)
CPU = torch.device("cpu")
UPSAMPLE = nn.UpsamplingBilinear2d(scale_factor=2)
NAMES = [get_args(member.model_fields["name"].annotation)[0] for member in get_args(get_args(BuiltInLoss)[0])]

CASES: list[tuple[Any, slow.SlowLoss]] = [
    ("ce", slow.ce),
    ("ohem", partial(slow.ohem, threshold=0.9, min_kept=1 / 16)),
    ({"name": "ohem", "threshold": 0.2, "min_kept": 0.3}, partial(slow.ohem, threshold=0.2, min_kept=0.3)),
    ({"name": "ohem", "threshold": 0.001, "min_kept": 1.0}, partial(slow.ohem, threshold=0.001, min_kept=1.0)),
    ("focal", partial(slow.focal, gamma=2.0)),
    ({"name": "focal", "gamma": 0.5}, partial(slow.focal, gamma=0.5)),
    ({"name": "focal", "gamma": 0.0}, slow.ce),
    ({"name": "dice", "ce": 0.0}, lambda p, y, _: slow.dice(p, y)),
    ({"name": "dice", "ce": 0.3}, lambda p, y, w: slow.dice(p, y) + 0.3 * slow.ce(p, y, w)),
    ({"name": "lovasz", "ce": 0.0}, lambda p, y, _: slow.lovasz(p, y)),
    ("lovasz", lambda p, y, w: slow.lovasz(p, y) + slow.ce(p, y, w)),
    ("logit_adjusted", partial(slow.logit_adjusted, tau=1.0, pixels_C=PIXELS)),
    ({"name": "logit_adjusted", "tau": 2.5}, partial(slow.logit_adjusted, tau=2.5, pixels_C=PIXELS)),
    ({"name": "logit_adjusted", "tau": 0.0}, slow.ce),
]


def built(loss: Any) -> PathLoss:
    section = TypeAdapter(Loss).validate_json(json.dumps(loss))
    return build_loss(section, ClassStatistics.of([PIXELS]), CPU)


def path(seed: int, ignored: float = 0.2, classes: int = C, size: float = 2.0) -> tuple[Tensor, Tensor]:
    """Logits [2,C,2,3] (float64) and labels [2,4,6] among the first ``classes``."""
    generator = torch.Generator().manual_seed(seed)
    logits_BChw = size * torch.randn(2, C, 2, 3, generator=generator, dtype=torch.float64)
    labels_BHW = torch.randint(classes, (2, 4, 6), generator=generator)
    labels_BHW[torch.rand(2, 4, 6, generator=generator) < ignored] = IGNORE_INDEX
    return logits_BChw, labels_BHW


def labelled(logits_BChw: Tensor, labels_BHW: Tensor) -> tuple[slow.Numbers, slow.Labels]:
    p_NC = UPSAMPLE(logits_BChw).softmax(dim=1).movedim(1, -1).reshape(-1, C)
    labels_N = labels_BHW.flatten()
    return p_NC[labels_N != IGNORE_INDEX].numpy(), labels_N[labels_N != IGNORE_INDEX].numpy()


@pytest.mark.parametrize(("loss", "reference"), CASES, ids=[json.dumps(loss) for loss, _ in CASES])
@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    st.integers(0, 10**6), st.sampled_from([0.0, 0.4]), st.integers(1, C), st.sampled_from([None, (1.0, 3.0, 0.5, 2.0)])
)
def test_a_loss_equals_its_slow_self(
    loss: Any, reference: slow.SlowLoss, seed: int, ignored: float, classes: int, weights: tuple[float, ...] | None
) -> None:
    """Both paths, with classes that the labels do not hold."""
    paths = [path(seed, ignored, classes), path(seed + 1, ignored, classes)]
    weights_C = torch.tensor(weights or (1.0,) * C, dtype=torch.float64)
    found = built(loss)(*map(list, zip(*paths, strict=True)), UPSAMPLE, None if weights is None else weights_C)
    tolerance = 1e-5 if "lovasz" in str(loss) else 1e-9  # smp's is of float32
    for ours, one in zip(found, paths, strict=True):
        assert float(ours) == pytest.approx(reference(*labelled(*one), weights_C.numpy()), rel=tolerance, abs=1e-9)


@pytest.mark.parametrize("threshold", [0.9, 0.3, 0.01])
@pytest.mark.parametrize("kept", [1, 5, 20])
def test_ohem_is_that_of_the_official_code(threshold: float, kept: int) -> None:
    """Where probabilities do not tie, and fewer than all pixels are to be kept."""
    logits_BChw, labels_BHW = path(9)
    known, weights = labelled(logits_BChw, labels_BHW), slow.np.array([1.0, 3.0, 0.5, 2.0])
    share = (kept + 0.5) / len(known[1])
    (ours,) = built({"name": "ohem", "threshold": threshold, "min_kept": share})(
        [logits_BChw], [labels_BHW], UPSAMPLE, torch.tensor(weights)
    )
    assert float(ours) == pytest.approx(slow.official_ohem(*known, weights, threshold, kept), rel=1e-9)


@pytest.mark.parametrize("loss", [loss for loss, _ in CASES], ids=json.dumps)
def test_the_gradient_is_that_of_the_loss(loss: Any) -> None:
    logits_BChw, labels_BHW = path(3)
    compute = built(loss)

    def scalar(logits: Tensor) -> Tensor:
        return compute([logits], [labels_BHW], UPSAMPLE, None)[0]

    precision = {"eps": 1e-3, "atol": 1e-3, "rtol": 1e-2} if "lovasz" in str(loss) else {}
    assert torch.autograd.gradcheck(scalar, (logits_BChw.requires_grad_(),), **precision)


@pytest.mark.parametrize("loss", NAMES)
def test_ignored_pixels_have_no_gradient_and_change_nothing(loss: str) -> None:
    logits_BCHW, labels_BHW = path(4, ignored=0.5)
    logits_BCHW, compute = UPSAMPLE(logits_BCHW), built(loss)
    nowhere_B1HW = (labels_BHW == IGNORE_INDEX)[:, None]
    noisy_BCHW = logits_BCHW + 50 * torch.randn_like(logits_BCHW) * nowhere_B1HW
    values, gradients = [], []
    for logits in (logits_BCHW.clone().requires_grad_(), noisy_BCHW.requires_grad_()):
        (value,) = compute([logits], [labels_BHW], nn.Identity(), None)
        gradients += torch.autograd.grad(value, logits)
        values.append(value)
    torch.testing.assert_close(*values, rtol=1e-6, atol=0)
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-9)
    assert (gradients[1] * nowhere_B1HW == 0).all()
    assert (gradients[1] * ~nowhere_B1HW != 0).any()


@pytest.mark.parametrize("weights", [None, torch.ones(C), torch.zeros(C)])
@pytest.mark.parametrize("loss", NAMES)
def test_without_labels_a_loss_is_zero(loss: str, weights: Tensor | None) -> None:
    logits_BChw = path(5)[0].float().requires_grad_()
    nowhere_BHW = torch.full((2, 4, 6), IGNORE_INDEX)
    (value,) = built(loss)([logits_BChw], [nowhere_BHW], UPSAMPLE, weights)
    assert value.shape == ()
    assert value == 0
    assert (torch.autograd.grad(value, logits_BChw)[0] == 0).all()


@pytest.mark.parametrize("loss", [*NAMES, {"name": "focal", "gamma": 0.5}], ids=str)
def test_a_loss_is_finite_in_float32_and_under_autocast(loss: Any) -> None:
    """Also where the network is sure, right or wrong."""
    for size in (1.0, 1e4):
        double_BChw, labels_BHW = path(6, size=size)
        (expected,) = built(loss)([double_BChw], [labels_BHW], UPSAMPLE, None)
        for enabled in (False, True):
            logits_BChw = double_BChw.float().requires_grad_()
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                (value,) = built(loss)([logits_BChw], [labels_BHW], UPSAMPLE, None)
            (gradient,) = torch.autograd.grad(value, logits_BChw)
            assert value.dtype == torch.float32
            torch.testing.assert_close(value.double(), expected, rtol=2e-5, atol=0, msg=f"{loss} {size} {enabled}")
            assert gradient.isfinite().all()


@pytest.mark.parametrize("loss", NAMES)
def test_what_is_no_number_is_not_hidden(loss: str) -> None:
    logits_BChw, labels_BHW = path(8)
    (value,) = built(loss)([logits_BChw * torch.nan], [labels_BHW], UPSAMPLE, None)
    assert value.isnan()


def test_what_smps_losses_make_of_classes_that_are_missing() -> None:
    """Why dice and focal are our own, and what is mended in Lovász; ignored pixels are right in all of them."""
    logits_BChw, labels_BHW = path(7, classes=2)
    logits_BCHW, known = UPSAMPLE(logits_BChw).float(), labelled(logits_BChw, labels_BHW)
    usual = {"mode": "multiclass", "ignore_index": IGNORE_INDEX}
    assert float(smp.losses.DiceLoss(**usual)(logits_BCHW, labels_BHW)) == pytest.approx(slow.dice(*known) * 2 / C)
    assert float(smp.losses.LovaszLoss(**usual)(logits_BCHW, labels_BHW)) == pytest.approx(slow.lovasz(*known))
    softmax_ce = slow.ce(*known, weights_C=slow.np.ones(C))
    assert float(smp.losses.FocalLoss(**usual, gamma=0.0)(logits_BCHW, labels_BHW)) != pytest.approx(
        softmax_ce, rel=0.1
    )
    nowhere_BHW = torch.full((2, 4, 6), IGNORE_INDEX)
    assert smp.losses.LovaszLoss(**usual)(logits_BCHW, nowhere_BHW).shape == (0, C)


# ------------------------------------------------------------------------------------------- steps that suppress

ERASE = {"layer": "input", "mechanism": {"name": "erase"}}
GATE = {"layer": "decoder", "mechanism": {"name": "gate"}, "gate_norm": "mean"}
OF_PIXELS = ("ce", "focal", "logit_adjusted")
"""Losses that are a mean over the pixels, which alone `reweight: keep` can hold."""
WEIGHTS = (1.0, 3.0, 0.5, 2.0)


def step_of(
    section: dict[str, Any], loss: Any, labels_BHW: Tensor, drop: Drop
) -> tuple[PathLosses, Tensor, list[Tensor]]:
    """Terms of a step on random images, their sum's gradients, and the upsampled logits of the path that suppresses."""
    suppression = SuppressionConfig.model_validate_json(json.dumps(section))
    torch.manual_seed(0)
    config = ModelConfig(arch="linknet", encoder="tu-test_resnet", encoder_weights=None)
    model = build_model(config, C, suppression).double().train()
    batch = Batch(torch.randn(*labels_BHW.shape[:1], 3, *labels_BHW.shape[1:], dtype=torch.float64), labels_BHW)
    weights_C = torch.tensor(WEIGHTS, dtype=torch.float64)
    terms = suppressed_losses(model, batch, drop, suppression, Compute(CPU), weights_C, path_loss=built(loss))
    total = terms.plain if terms.suppressed is None else terms.plain + terms.suppressed
    gradients = torch.autograd.grad(total, list(model.parameters()), materialize_grads=True)
    assert terms.predicted is not None
    return terms, model.upsample(terms.predicted), list(gradients)


def patch_labels(seed: int) -> Tensor:
    """Few of [2,32,32] pixels are labelled, by any class: the slow losses take time."""
    labels_BHW = torch.full((2, 32, 32), IGNORE_INDEX)
    labels_BHW[:, 8:13, 10:16] = torch.randint(C, (2, 5, 6), generator=torch.Generator().manual_seed(seed))
    return labels_BHW


@pytest.mark.parametrize("section", [ERASE, GATE], ids=["erase", "gate"])
@pytest.mark.parametrize(
    ("loss", "reference"), [(loss, slow_loss) for loss, slow_loss in CASES if loss in NAMES] + CASES[8:9]
)
@settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.integers(0, 10**6), st.integers(1, 2**C - 2), st.booleans())
def test_a_suppressed_path_is_scored_on_what_is_left(
    section: dict[str, Any], loss: Any, reference: slow.SlowLoss, seed: int, dropped: int, keep: bool
) -> None:
    """By the slow loss, on pixels of the classes that are kept; with `keep` times their share of the weight."""
    gone = [c for c in range(C) if dropped >> c & 1]
    drop = Drop(torch.tensor([[float(c not in gone) for c in range(C)]]), seed=seed)
    labels_BHW = patch_labels(seed)
    left_BHW = torch.where(torch.isin(labels_BHW, torch.tensor(gone)), IGNORE_INDEX, labels_BHW)
    keep = keep and loss in OF_PIXELS
    terms, logits_BCHW, gradients = step_of(section | ({"reweight": "keep"} if keep else {}), loss, labels_BHW, drop)
    suppressed = terms.plain if terms.suppressed is None else terms.suppressed
    p_NC, labels_N = (
        logits_BCHW.softmax(dim=1).movedim(1, -1)[left_BHW != IGNORE_INDEX].numpy(),
        left_BHW[left_BHW != IGNORE_INDEX].numpy(),
    )
    share = 1.0
    if keep:
        share = sum(WEIGHTS[y] for y in labels_N) / sum(WEIGHTS[y] for y in labels_BHW[labels_BHW != IGNORE_INDEX])
    expected = share * reference(p_NC, labels_N, slow.np.array(WEIGHTS))
    assert float(suppressed.detach()) == pytest.approx(expected, rel=1e-5 if "lovasz" in str(loss) else 1e-9)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("labelled", [False, True], ids=["unlabelled", "dropped"])
@pytest.mark.parametrize("reweight", ["mean", "keep"])
@pytest.mark.parametrize("section", [ERASE, GATE], ids=["erase", "gate"])
@pytest.mark.parametrize("loss", NAMES)
def test_a_path_of_which_nothing_is_left_is_zero(
    loss: str, section: dict[str, Any], reweight: str, labelled: bool
) -> None:
    """No pixel was labelled, or all by the dropped class, which the gate's plain path goes on learning."""
    labels_BHW = torch.full((2, 32, 32), 1 if labelled else IGNORE_INDEX)
    terms, _, gradients = step_of(section | {"reweight": reweight}, loss, labels_BHW, Drop.of(1, C))
    if labelled and terms.suppressed is not None:
        assert terms.suppressed == 0
        assert terms.plain > 0
    else:
        assert terms.plain == 0
        assert terms.suppressed in (None, 0)
        assert all((gradient == 0).all() for gradient in gradients)
    assert all(gradient.isfinite().all() for gradient in gradients)
