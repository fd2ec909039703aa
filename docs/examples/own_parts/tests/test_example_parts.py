"""Each part against its contract."""

from own_parts.data import Tiles
from own_parts.loss import Poly
from own_parts.mechanism import Fade
from own_parts.metric import RareRecall
from own_parts.model import Tiny
from own_parts.sampling import Rested

from trainable.testing import (
    DataSetContract,
    LossContract,
    MechanismContract,
    MetricContract,
    ModelContract,
    SamplingContract,
)


class TestFade(MechanismContract):
    part = Fade
    settings = {"strength": 0.5}


class TestRested(SamplingContract):
    part = Rested
    settings = {"patience": 3}


class TestPoly(LossContract):
    part = Poly


class TestRareRecall(MetricContract):
    part = RareRecall


class TestTiles(DataSetContract):
    part = Tiles
    classes = ("floor", "large", "small")
    settings = {"train_frames": 4, "val_frames": 2}


class TestTiny(ModelContract):
    part = Tiny
    settings = {"width": 8}
