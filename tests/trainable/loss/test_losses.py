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
from trainable.loss.config import Loss
from trainable.suppression.loss import PathLoss

C = 4
PIXELS = (900, 90, 10, 0)
CPU = torch.device("cpu")
UPSAMPLE = nn.UpsamplingBilinear2d(scale_factor=2)
NAMES = [get_args(member.model_fields["name"].annotation)[0] for member in get_args(get_args(Loss)[0])]

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
