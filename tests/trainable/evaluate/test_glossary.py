"""Every metric has plain words, written once."""

from trainable.data.config import ShapesData
from trainable.evaluate.metrics import names
from trainable.evaluate.metrics.glossary import WORDS, in_words, named


def test_every_metric_that_is_named_has_words() -> None:
    constants = {v for k, v in vars(names).items() if k.isupper() and isinstance(v, str)}
    metrics = {name for name in constants if "/" in name.strip("/") or name.endswith("_seconds")}
    assert metrics - {names.IOU_PREFIX} == set(WORDS), "a new metric gets its words in glossary.py"
    assert all(in_words(name) for name in names.objective_names(ShapesData(name="shapes")))


def test_names_with_a_class_or_a_kind_in_them() -> None:
    assert in_words(names.iou_name("sky")) == "IoU of sky"
    assert in_words(names.iou_on_test_name("sky")) == "IoU of sky on the test split"
    assert in_words(names.corrupted_name("fog")) == "mean IoU on images with fog"
    assert in_words(names.context_name("sky")) == "IoU that other classes lose where sky is erased"


def test_a_metric_of_ones_own_goes_by_its_name() -> None:
    assert named("mine/score") == "mine/score"
    assert named(names.RARE_MIOU) == "val/rare_miou (mean IoU over the rare classes)"
