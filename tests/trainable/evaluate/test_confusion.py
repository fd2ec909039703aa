import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from trainable.config import TrialConfig
from trainable.data.classes import IGNORE_INDEX, class_names
from trainable.data.frames import HeldFrames, load_splits
from trainable.evaluate.metrics import names as metric_names
from trainable.evaluate.metrics.confusion import class_ious, confusion_matrix, mean_iou, scores
from trainable.evaluate.metrics.names import (
    CONTEXT_GAP,
    MIOU,
    PIXEL_ACCURACY,
    RARE_MIOU,
    WORST3_IOU,
    iou_name,
)
from trainable.evaluate.metrics.rare import rare_classes

NAMES = ("a", "b", "c", "d", "e")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 5))
def test_scores_equal_torchmetrics(seed: int, labelled: int, predicted: int) -> None:
    """Also when some classes are missing from labels or predictions."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(labelled, (2, 6, 6), generator=generator)
    guesses = torch.randint(predicted, (2, 6, 6), generator=generator)
    labels[torch.rand(2, 6, 6, generator=generator) < 0.2] = IGNORE_INDEX
    found = scores(confusion_matrix(labels.byte(), guesses, 5), NAMES, rare=(3, 4))
    macro = MulticlassJaccardIndex(5, average="macro", ignore_index=IGNORE_INDEX)(guesses, labels)
    assert found[MIOU] == pytest.approx(float(macro), abs=1e-6)
    each = MulticlassJaccardIndex(5, average="none", ignore_index=IGNORE_INDEX)(guesses, labels)
    for name, reference in zip(NAMES, each, strict=True):
        assert found.get(iou_name(name), 0.0) == pytest.approx(float(reference), abs=1e-6)
    lowest = sorted(v for name, v in found.items() if name.startswith(iou_name("")))[:3]
    assert found[WORST3_IOU] == pytest.approx(sum(lowest) / len(lowest), abs=1e-12)
    accuracy = MulticlassAccuracy(5, average="micro", ignore_index=IGNORE_INDEX)(guesses, labels)
    assert found[PIXEL_ACCURACY] == pytest.approx(float(accuracy), abs=1e-6)


def test_undefined_scores_are_left_out() -> None:
    labels, guesses = torch.tensor([[0, 0, 1, 255]]).byte(), torch.tensor([[0, 1, 1, 2]])
    found = scores(confusion_matrix(labels, guesses, 3), ("a", "b", "c"), rare=(2,))
    assert found == {
        MIOU: 0.5,
        WORST3_IOU: 0.5,
        PIXEL_ACCURACY: pytest.approx(2 / 3),
        iou_name("a"): 0.5,
        iou_name("b"): 0.5,
    }
    assert RARE_MIOU not in found
    nothing = scores(confusion_matrix(torch.full((1, 2), 255).byte(), torch.zeros(1, 2).long(), 3), NAMES[:3], ())
    assert nothing == {}


def test_means_skip_undefined_classes() -> None:
    ious = class_ious(torch.tensor([[1, 1, 0], [0, 2, 0], [0, 0, 0]]))
    assert ious[:2].tolist() == pytest.approx([1 / 2, 2 / 3])
    assert math.isnan(float(ious[2]))
    assert mean_iou(ious, (0, 2)) == 0.5
    assert math.isnan(mean_iou(ious, (2,)))


def test_rare_classes_hold_less_than_two_percent() -> None:
    assert rare_classes((980, 20, 0)) == (2,)
    assert rare_classes((981, 19, 0)) == (1, 2)
    assert rare_classes((0, 0)) == (0, 1)


def test_engine_metrics_equal_torchmetrics(make_trial) -> None:
    from trainable.data.statistics import train_statistics
    from trainable.evaluate.evaluate import evaluate
    from trainable.train.compute import choose_compute
    from trainable.train.engine import prepare
    from trainable.train.epoch import train_epoch

    config: TrialConfig = make_trial(data={"size": [64, 64]}, suppression={"gate_norm": "mean"})
    compute, splits = choose_compute("cpu", "auto"), load_splits(config.data)
    training = prepare(config, compute, len(splits.train), train_statistics(config.data))
    train_epoch(training, splits.train, 1)
    found, _, _ = evaluate(config, training.model, compute, splits, rare=(4, 5))
    means: list[float] = []
    for frames in splits.evaluated():
        assert isinstance(frames, HeldFrames)
        training.model.eval()
        with torch.no_grad():
            guesses = training.model(compute.network_input(frames.images)).argmax(1)
        labels = frames.labels.long()
        jaccard = MulticlassJaccardIndex(6, average="none", ignore_index=IGNORE_INDEX)
        each, seen = jaccard(guesses, labels), labels != IGNORE_INDEX
        counted = torch.bincount(torch.cat([guesses[seen], labels[seen]]), minlength=6) > 0
        means.append(float(each[2:][counted[2:]].mean()))
        if frames is splits.val:
            assert found[MIOU] == pytest.approx(float(each[counted].mean()), abs=1e-6)
            for name, iou, seen in zip(class_names(config.data), each, counted, strict=True):
                assert found.get(iou_name(name), None) == (pytest.approx(float(iou), abs=1e-6) if seen else None)
    objects = [found[f"val/object_miou_{context}"] for context in ("aligned", "uniform", "swapped", "masked")]
    assert objects == pytest.approx(means, abs=1e-6)
    assert found[CONTEXT_GAP] == pytest.approx(means[0] - means[2], abs=1e-6)
    constants = {value for name, value in vars(metric_names).items() if name.isupper() and isinstance(value, str)}
    assert set(found) <= constants | {iou_name(name) for name in class_names(config.data)}
