"""What each metric is called in plain words, for whoever reads a table, a page or a chart. Imports no torch."""

from collections.abc import Mapping

from trainable.evaluate.metrics import names
from trainable.evaluate.metrics.names import CONTEXT_PREFIX, IOU_PREFIX, greater_is_better

WORDS: Mapping[str, str] = {
    names.MIOU: "mean IoU over the classes of the evaluation split",
    names.RARE_MIOU: "mean IoU over the rare classes",
    names.WORST3_IOU: "mean IoU over the three worst classes",
    names.ECE: "calibration error: how far confidence is from accuracy",
    names.IMAGE_MIOU: "mean IoU image by image",
    names.WORST_IMAGE_MIOU: "mean IoU of the worst tenth of the images",
    names.CLASS_IMAGE_MIOU: "IoU of each class image by image, mean over classes",
    names.WORST_CLASS_IMAGE_MIOU: "the same on each class's worst tenth of images",
    names.RARE_IMAGE_MIOU: "IoU of the rare classes image by image",
    names.BOUNDARY_MIOU: "mean IoU near boundaries of objects",
    names.RARE_BOUNDARY_MIOU: "IoU of the rare classes near boundaries",
    names.PIXEL_ACCURACY: "share of pixels that are right",
    names.ALIGNED_OBJECT_MIOU: "IoU of objects in their own context",
    names.UNIFORM_OBJECT_MIOU: "IoU of objects in either context alike",
    names.SWAPPED_OBJECT_MIOU: "IoU of objects in the wrong context; 0 where the context alone is read",
    names.MASKED_OBJECT_MIOU: "IoU of objects without any context",
    names.CONTEXT_GAP: "IoU that objects lose in the wrong context",
    names.TEST_MIOU: "mean IoU on the test split",
    names.TEST_RARE_MIOU: "mean IoU over the rare classes of the test split",
    names.CONTEXT_RELIANCE: "IoU that a class loses where another one is erased",
    names.CONTEXT_RARE_RELIANCE: "IoU that a rare class loses where another one is erased",
    names.CORRUPTED_MIOU: "mean IoU on corrupted images",
    names.TRAIN_LOSS: "training loss",
    names.TRAIN_CE: "training loss with every class kept",
    names.TRAIN_SUPPRESSED_CE: "training loss with a class suppressed",
    names.TRAIN_AUXILIARY_CE: "training loss of the auxiliary classifiers",
    names.TRAIN_SUPPRESSION: "probability that a suppressed class keeps in training",
    names.TRAIN_DROPPED: "share of the draws that suppressed a class",
    names.WEIGHT_COSINE: "how alike the classifier's weights of two classes are",
    names.WEIGHT_COSINE_RARE: "the same of two rare classes",
    names.WEIGHT_COSINE_FREQUENT: "the same of two frequent classes",
    names.WEIGHT_COSINE_RARE_FREQUENT: "the same of a rare and a frequent class",
    names.CHANNEL_PURITY: "how far channels belong to a single class",
    names.PURITY_ABOVE_CHANCE: "the same above random weights",
    names.KEPT_PROBABILITY: "probability of a class on its pixels, every class kept",
    names.DROPPED_PROBABILITY: "the same with the class suppressed",
    names.COLLATERAL: "mean IoU that other classes lose when one is suppressed",
    names.LR: "learning rate",
    names.EPOCH_SECONDS: "seconds of an epoch",
    names.TRAIN_SECONDS: "seconds of training in an epoch",
    names.VAL_SECONDS: "seconds of evaluation in an epoch",
    names.SUPPRESSION_SECONDS: "seconds of the suppressed path in an epoch",
    names.RECALIBRATION_SECONDS: "seconds of recomputing batch statistics",
    names.CONTEXT_SECONDS: "seconds of evaluating erased images",
    names.CORRUPTIONS_SECONDS: "seconds of evaluating corrupted images",
    names.SETUP_SECONDS: "seconds before the first step",
    names.CPU_PERCENT: "use of the processors in percent",
    names.RSS: "largest memory of the trial's process in bytes",
    names.GPU_UTILIZATION: "use of the GPU in percent",
    names.GPU_MEMORY: "largest memory in use on the GPU in bytes",
    names.GPU_PEAK: "largest memory of the trial on its GPU in bytes",
    names.GPU_POWER: "power of the GPU in watts",
}
"""By the metric's name."""
_TEST_IOU, _CORRUPTED, _MIOU = "test/iou/", "corrupted/", "/miou"


def in_words(metric: str) -> str:
    """What a metric is, in a few plain words; empty for one of the user's own."""
    if metric in WORDS:
        return WORDS[metric]
    for prefix, what in ((IOU_PREFIX, "IoU of {}"), (_TEST_IOU, "IoU of {} on the test split")):
        if metric.startswith(prefix):
            return what.format(metric.removeprefix(prefix))
    if metric.startswith(_CORRUPTED) and metric.endswith(_MIOU):
        return f"mean IoU on images with {metric.removeprefix(_CORRUPTED).removesuffix(_MIOU)}"
    if metric.startswith(CONTEXT_PREFIX):
        return f"IoU that other classes lose where {metric.removeprefix(CONTEXT_PREFIX)} is erased"
    return ""


def with_direction(metric: str) -> str:
    """The same, with which values are better."""
    words = in_words(metric)
    return words and f"{words}; {'larger' if greater_is_better(metric) else 'smaller'} is better"


def named(metric: str) -> str:
    """The metric with its words behind it: ``val/rare_miou (mean IoU over the rare classes)``."""
    words = in_words(metric)
    return f"{metric} ({words})" if words else metric
