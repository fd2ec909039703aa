"""What metrics mean in plain words, for whoever has not read the paper. Imports no torch."""

from collections.abc import Mapping

from trainable.evaluate.metrics.names import (
    ALIGNED_OBJECT_MIOU,
    BOUNDARY_MIOU,
    CONTEXT_GAP,
    CONTEXT_RELIANCE,
    CORRUPTED_MIOU,
    DROPPED_PROBABILITY,
    ECE,
    IMAGE_MIOU,
    IOU_PREFIX,
    KEPT_PROBABILITY,
    MASKED_OBJECT_MIOU,
    MIOU,
    PIXEL_ACCURACY,
    RARE_MIOU,
    SWAPPED_OBJECT_MIOU,
    TEST_MIOU,
    TRAIN_CE,
    TRAIN_LOSS,
    UNIFORM_OBJECT_MIOU,
    WORST3_IOU,
    greater_is_better,
)

_WORDS: Mapping[str, str] = {
    MIOU: "mean over the classes of the overlap of prediction and label (IoU)",
    RARE_MIOU: "the same over the rare classes alone",
    WORST3_IOU: "the same over the three classes that score lowest",
    PIXEL_ACCURACY: "share of pixels that are predicted right",
    ECE: "how far the network's confidence is from its accuracy",
    IMAGE_MIOU: "mean IoU of each image, mean over the images",
    BOUNDARY_MIOU: "mean IoU near the outlines alone",
    ALIGNED_OBJECT_MIOU: "mean IoU of the objects where each lies in its own context, as in training",
    UNIFORM_OBJECT_MIOU: "mean IoU of the objects where each lies in either context alike",
    SWAPPED_OBJECT_MIOU: "mean IoU of the objects where the contexts are swapped: 0 for a network that reads the "
    "context and not the object",
    MASKED_OBJECT_MIOU: "mean IoU of the objects where the context is hidden",
    CONTEXT_GAP: "object mIoU lost when the contexts are swapped: 0 for a network that does not use them",
    TEST_MIOU: "mean IoU on the test split, measured once at the end",
    CONTEXT_RELIANCE: "IoU that a class loses where another one is erased from the image",
    CORRUPTED_MIOU: "mean IoU on noisy, blurred or otherwise corrupted images",
    TRAIN_LOSS: "what the training minimises",
    TRAIN_CE: "cross-entropy on the training images",
    KEPT_PROBABILITY: "probability of a class on its own pixels, with every class kept",
    DROPPED_PROBABILITY: "the same with that class suppressed: suppression works as far as it is lower",
}


def in_words(metric: str) -> str:
    """A metric in plain words, with which values are better; empty where there is nothing to say beside its name."""
    if metric.startswith(IOU_PREFIX):
        return f"IoU of the class {metric.removeprefix(IOU_PREFIX)}; larger is better"
    words = _WORDS.get(metric)
    return "" if words is None else f"{words}; {'larger' if greater_is_better(metric) else 'smaller'} is better"
