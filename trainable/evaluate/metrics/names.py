"""The names of all metrics a trial reports, written once; objectives, MLflow keys and table columns derive from here.

Imports no torch.
"""

import re

from trainable.data.classes import class_names
from trainable.data.config import DataConfig, ShapesData
from trainable.parts.section import short_name

MIOU = "val/miou"
"""Mean IoU over the classes that occur in labels or predictions of the evaluation split."""
RARE_MIOU = "val/rare_miou"
"""Mean IoU over rare classes: under 2 % of the training pixels."""
WORST3_IOU = "val/worst3_iou"
"""Mean of the three lowest class IoUs."""
ECE = "val/ece"
"""Expected calibration error over the labelled pixels: mean |accuracy - confidence| over 15 bins of confidence."""
IMAGE_MIOU = "val/image_miou"
"""Mean over the images of the mean IoU over the classes that an image is labelled with (mIoU^I, 2310.19252)."""
WORST_IMAGE_MIOU = "val/image_miou_worst10"
"""The same over the tenth of the images where it is lowest."""
CLASS_IMAGE_MIOU = "val/class_image_miou"
"""Mean over the classes of a class's mean IoU over the images that are labelled with it (mIoU^C, 2310.19252)."""
WORST_CLASS_IMAGE_MIOU = "val/class_image_miou_worst10"
"""The same, of each class over the tenth of its images where its IoU is lowest."""
RARE_IMAGE_MIOU = "val/rare_image_miou"
"""Class image mIoU over the rare classes alone."""
BOUNDARY_MIOU = "val/boundary_miou"
"""Mean over the classes of the IoU of what lies within 2 % of the image's diagonal of a boundary (2103.16562)."""
RARE_BOUNDARY_MIOU = "val/rare_boundary_miou"
"""The same over rare classes."""
PIXEL_ACCURACY = "val/pixel_accuracy"
"""Share of labelled pixels predicted right."""
ALIGNED_OBJECT_MIOU = "val/object_miou_aligned"
"""shapes: mean IoU over object classes, each in its own context."""
UNIFORM_OBJECT_MIOU = "val/object_miou_uniform"
"""shapes: the same with every object in either context alike."""
SWAPPED_OBJECT_MIOU = "val/object_miou_swapped"
"""shapes: the same with the contexts swapped."""
MASKED_OBJECT_MIOU = "val/object_miou_masked"
"""shapes: mean IoU over object classes on objects alone, their context hidden and not scored."""
CONTEXT_GAP = "val/context_gap"
"""shapes: aligned minus swapped object mIoU; 0 means that the context is not used."""
TEST_MIOU = "test/miou"
"""Mean IoU on the test split, of the last epoch alone and only with ``evaluation.test_at_end``."""
TEST_RARE_MIOU = "test/rare_miou"
"""The same over rare classes."""
CONTEXT_RELIANCE = "context/reliance"
"""IoU that a class loses where another class is erased from the frames, mean over both (``evaluation.context``)."""
CONTEXT_RARE_RELIANCE = "context/rare_reliance"
"""The same over rare classes that lose, whatever is erased."""
CORRUPTED_MIOU = "corrupted/miou"
"""Mean IoU on corrupted frames of the evaluation split, mean over the kinds (``evaluation.corruptions``)."""
TRAIN_LOSS = "train/loss"
"""Mean total loss over the steps of the epoch."""
TRAIN_CE = "train/ce"
"""Mean cross-entropy of the plain path, or of the loss that stands in its place (``train.loss``)."""
TRAIN_SUPPRESSED_CE = "train/ce_suppressed"
"""The same of the suppressed path, pixels of suppressed classes ignored."""
TRAIN_AUXILIARY_CE = "train/ce_auxiliary"
"""Mean cross-entropy of the auxiliary classifiers, summed over the layers."""
TRAIN_SUPPRESSION = "train/suppression"
"""Mean probability of the suppressed class over the steps that dropped one, as it enters the loss; 0 where none did."""
TRAIN_DROPPED = "train/dropped_share"
"""Share of the draws that suppressed a class: a step makes one, or one per image or group (``granularity``)."""
WEIGHT_COSINE = "model/weight_cosine"
"""Mean cosine between the classifier's weight vectors of two classes, the paper's measure of entanglement."""
WEIGHT_COSINE_RARE = "model/weight_cosine_rare"
"""The same over pairs of two rare classes."""
WEIGHT_COSINE_FREQUENT = "model/weight_cosine_frequent"
"""The same over pairs of two classes that are not rare."""
WEIGHT_COSINE_RARE_FREQUENT = "model/weight_cosine_rare_frequent"
"""The same over pairs of a rare class and one that is not: how far a rare class looks like its surroundings."""
CHANNEL_PURITY = "suppression/purity"
"""Mean over channels of the largest share max_z r_zk, r_zk = ReLU(S_zk) / sum_c ReLU(S_ck): 1/C to 1 (exclusive)."""
PURITY_ABOVE_CHANCE = "suppression/purity_above_chance"
"""Channel purity minus that of random weights from the same initial law: 0 where training has told no channel apart."""
KEPT_PROBABILITY = "suppression/p_kept"
"""Mean p(z) on the pixels of z with every class kept, mean over z; on some images of the evaluation split."""
DROPPED_PROBABILITY = "suppression/p_dropped"
"""The same with z suppressed: suppression works as far as it is lower."""
COLLATERAL = "suppression/collateral"
"""Loss of mIoU over the other classes when z is suppressed, pixels of z aside, mean over z; same images."""
LR = "train/lr"
"""Learning rate of the last step."""
EPOCH_SECONDS = "epoch_seconds"
"""Wall time of the epoch: training and evaluation."""
TRAIN_SECONDS = "train_seconds"
"""Wall time of the training steps."""
VAL_SECONDS = "val_seconds"
"""Wall time of the evaluation."""
SUPPRESSION_SECONDS = "suppression_seconds"
"""Device time of the suppressed path in training, forward and backward, without what it shares with the plain path."""
RECALIBRATION_SECONDS = "recalibration_seconds"
"""Wall time of recomputing the batch statistics of the suppression block before the evaluation."""
CONTEXT_SECONDS = "context_seconds"
"""Wall time of erasing each class and predicting anew, a part of ``val_seconds``."""
CORRUPTIONS_SECONDS = "corruptions_seconds"
"""Wall time of predicting corrupted frames, a part of ``val_seconds``."""
SETUP_SECONDS = "setup_seconds"
"""Wall time before the first step of the trial: data and model. Only the first epoch carries it."""

CPU_PERCENT = "system/cpu_percent"
"""Mean use of the node's processors in the epoch, by all processes; 100 is all of them."""
RSS = "system/rss_bytes"
"""Largest resident memory of the trial's process, mapped data included."""
GPU_UTILIZATION = "system/gpu_utilization_percent"
"""Mean share of the time in which the trial's GPU computed, for whomever."""
GPU_MEMORY = "system/gpu_memory_bytes"
"""Largest memory in use on the trial's GPU, by all that share it; of several GPUs the sum."""
GPU_PEAK = "system/gpu_peak_bytes"
"""Most memory that the trial's own tensors held on its GPU, since its worker began; its CUDA context aside."""
GPU_POWER = "system/gpu_power_watts"
"""Mean power of the trial's GPU; of several the sum."""


WEIGHT_COSINES = (WEIGHT_COSINE, WEIGHT_COSINE_RARE, WEIGHT_COSINE_FREQUENT, WEIGHT_COSINE_RARE_FREQUENT)
"""Means over entries of one matrix of cosines."""
SHAPES_METRICS = (ALIGNED_OBJECT_MIOU, UNIFORM_OBJECT_MIOU, SWAPPED_OBJECT_MIOU, MASKED_OBJECT_MIOU, CONTEXT_GAP)
"""Metrics of shapes alone."""


LESS_IS_BETTER = frozenset(
    {
        ECE,
        CONTEXT_GAP,
        TRAIN_LOSS,
        TRAIN_CE,
        TRAIN_SUPPRESSED_CE,
        TRAIN_AUXILIARY_CE,
        TRAIN_SUPPRESSION,
        *WEIGHT_COSINES,
        DROPPED_PROBABILITY,
        COLLATERAL,
        GPU_MEMORY,
        GPU_PEAK,
        GPU_POWER,
        RSS,
    }
)
"""Metrics that are better the smaller they are; so are times."""
FINAL, BEST, BEST_EPOCH = "/final", "/best", "/best_epoch"
"""End the names of what a trial as a whole has of an objective: last epoch's value, best epoch's, and which that is."""
IOU_PREFIX = "val/iou/"
"""Begins the name of a class's IoU."""
CONTEXT_PREFIX = "context/"
"""Begins the names of what is lost where a class is erased."""


def is_seconds(metric: str) -> bool:
    """Whether it is a time, which differs between machines and between runs of one trial."""
    return metric.endswith("_seconds")


def greater_is_better(metric: str) -> bool:
    """Whether larger values of a metric are better."""
    return metric not in LESS_IS_BETTER and not is_seconds(metric) and not metric.startswith(CONTEXT_PREFIX)


def iou_name(class_name: str) -> str:
    """IoU of one class."""
    return f"{IOU_PREFIX}{class_name}"


def is_taken(name: str) -> bool:
    """Whether a metric of the product has the name."""
    constants = {value for value in globals().values() if isinstance(value, str) and value.startswith("val/")}
    return name in constants


def own_name(class_name: str) -> str:
    """A metric of one's own, by the name of its class: ``val/rare_recall`` of ``RareRecall``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", class_name)
    return f"val/{words.lower()}"


def own_directions(evaluation: object) -> dict[str, bool]:
    """Whether larger values are better, of each metric of one's own in a section ``evaluation`` as it is written."""
    listed = evaluation.get("metrics") if isinstance(evaluation, dict) else None
    directions = {}
    for metric in listed if isinstance(listed, list) else ():
        section = metric if isinstance(metric, dict) else {"name": metric}
        directions[own_name(short_name(str(section.get("name"))))] = section.get("mode", "max") == "max"
    return directions


def own_name_of(metric: str, class_name: str) -> str:
    """A metric of one's own for one class of the data."""
    return f"{metric}/{class_name}"


def iou_on_test_name(class_name: str) -> str:
    """IoU of one class on the test split, as `TEST_MIOU`."""
    return f"test/iou/{class_name}"


def context_name(class_name: str) -> str:
    """IoU that the other classes lose, on average, where one class is erased."""
    return f"{CONTEXT_PREFIX}{class_name}"


def corrupted_name(kind: str) -> str:
    """Mean IoU on frames corrupted in one way."""
    return f"corrupted/{kind}/miou"


def objective_names(data: DataConfig) -> tuple[str, ...]:
    """Names that a study may optimise: every metric of the evaluation, and the training losses that all trials have."""
    shapes = SHAPES_METRICS if isinstance(data, ShapesData) else ()
    per_class = tuple(iou_name(name) for name in class_names(data))
    per_image = (IMAGE_MIOU, WORST_IMAGE_MIOU, CLASS_IMAGE_MIOU, WORST_CLASS_IMAGE_MIOU, RARE_IMAGE_MIOU)
    overall = (MIOU, RARE_MIOU, WORST3_IOU, PIXEL_ACCURACY, ECE, *per_image, BOUNDARY_MIOU, RARE_BOUNDARY_MIOU)
    return (*overall, *shapes, *per_class, TRAIN_LOSS, TRAIN_CE)


def repeats(name: str) -> bool:
    """Whether a trial that runs again, on a CPU, has the same value: all but what clocks and the machine tell."""
    return not name.startswith("system/") and not name.endswith(("_seconds", "_bytes"))
