"""What the presets are in plain words, a line each, for whoever has not read the paper."""

from collections.abc import Mapping

REFERENCE = "reference-"
"""Begins the key of a reference's trial, which the name of its preset ends."""
PLAIN = f"{REFERENCE}plain"
"""Key of the reference that trials of a search are compared with."""
PRESET_WORDS: Mapping[str, str] = {
    "none": "the network without suppression",
    "plain": "the network without suppression",
    "plain_small": "the network without suppression, from official's small initial weights",
    "official": "DropClass as its authors set it, small initial weights too",
    "official_recalibrated": "official, judged on batch statistics that fit the evaluation",
    "official_ranks": "official as its code runs on four GPUs, which draw a class each",
    "class_weighted": "no suppression, rare classes weigh more in the loss",
    "ohem": "no suppression, the loss of the hardest pixels alone",
    "focal": "no suppression, focal loss",
    "dice": "no suppression, Dice loss",
    "lovasz": "no suppression, Lovász loss",
    "logit_adjusted": "no suppression, logits adjusted to how often classes occur",
    "rare_class_sampling": "no suppression, images with rare classes are drawn more often",
    "rare_copy_paste": "no suppression, rare classes are pasted into other images",
    "block": "the extra layer of suppression alone, nothing is dropped",
    "two_path": "the two paths of suppression, nothing is dropped",
    "dropped_path": "classes are dropped, without the loss that suppresses them",
    "full": "suppression as the study file writes it",
    "random_channels": "control: random channels are dropped instead of a class's",
    "erase": "pixels of the drawn classes are erased from the image",
    "ignore": "control of erase: the same labels are ignored, nothing is erased",
    "erase_elsewhere": "control of erase: pixels that the classes have in another image",
    "erase_blocks": "control of erase: as many pixels in small random blocks",
}
"""By name; a test compares them with the presets there are."""
