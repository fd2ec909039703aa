"""Named settings of a trial: what an ablation of DropClass compares (METHOD, "What an honest ablation separates").

A preset replaces single settings of the trial that it is written in; all else, such as layer, sampling or gate_norm,
stays as written, so that the arms of an ablation differ in nothing but what they name. Imports no torch.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import JsonValue

from trainable.configfile.node import JsonObject
from trainable.configfile.trees import set_at

Preset = Literal[
    "none", "official", "official_recalibrated", "official_ranks", "plain", "plain_small", "class_weighted",
    "ohem", "focal", "dice", "lovasz", "logit_adjusted", "rare_class_sampling", "rare_copy_paste",
    "block", "two_path", "dropped_path", "full", "random_channels",
    "erase", "ignore", "erase_elsewhere", "erase_blocks",
]  # fmt: skip

_RECALIBRATED: Mapping[str, JsonValue] = {"suppression.recalibrate": True}
_SMALL: Mapping[str, JsonValue] = {"model.init": "small"}

_LOSSES: tuple[Preset, ...] = ("ohem", "focal", "dice", "lovasz", "logit_adjusted")


def _erasing(**settings: JsonValue) -> Mapping[str, JsonValue]:
    return {"suppression.layer": "input", "suppression.mechanism": {"name": "erase", **settings}}


PRESETS: Mapping[Preset, Mapping[str, JsonValue]] = {
    "none": {"suppression": None},
    "official": {"suppression": {}, **_SMALL},
    "official_recalibrated": {"suppression": {"recalibrate": True}, **_SMALL},
    "official_ranks": {"suppression": {"granularity": "groups"}, **_SMALL},
    "plain": {"suppression": None},
    "plain_small": {"suppression": None, **_SMALL},
    "class_weighted": {"suppression": None, "train.class_weights": "log_frequency"},
    **{name: {"suppression": None, "train.loss": {"name": name}} for name in _LOSSES},
    "rare_class_sampling": {"suppression": None, "data.rare_class_sampling": {}},
    "rare_copy_paste": {"suppression": None, "data.rare_copy_paste": 0.5},
    "block": {
        "suppression.p_max": 0.0,
        "suppression.mechanism": {"name": "hard"},
        "suppression.loss_ramp": {"name": "constant", "weight": 1.0},
        **_RECALIBRATED,
    },
    "two_path": {"suppression.p_max": 0.0, **_RECALIBRATED},
    "dropped_path": {"suppression.alpha": 0.0, **_RECALIBRATED},
    "full": _RECALIBRATED,
    "random_channels": {"suppression.mechanism": {"name": "random_channels"}, **_RECALIBRATED},
    "erase": _erasing(mask="class"),
    "ignore": _erasing(mask="class", fill="none", labels="ignored"),
    "erase_elsewhere": _erasing(mask="elsewhere"),
    "erase_blocks": _erasing(mask="blocks"),
}
"""Settings of each preset by dotted path.

none: no suppression · official: the paper's setting, initial weights too · official_recalibrated: the same, judged on
batch statistics that fit the evaluation · official_ranks: as the official code runs on four ranks, which draw two
classes a step · (a) plain: cross-entropy, the same as none (a loss that the trial writes holds in all arms but those of
a loss) · plain_small: plain from official's initial weights, which cost a short training much · (b) class_weighted:
weighted by class, where the trial writes no class weights of its own (those hold in all arms) · rivals for rare
classes, with their default settings: ohem, focal, dice, lovasz, logit_adjusted (``train.loss`` of that name),
rare_class_sampling and rare_copy_paste (of ``data``) · (c) block: the extra conv-BN-ReLU alone (capacity: its mechanism
leaves the map as it is where nothing is dropped, and the suppressed path has all the weight; the plain path is still
computed, so its time is that of two paths) · (d) two_path: the two-path loss without a drop · (e) dropped_path: drops
without the suppression term · (f) full: as written · (g) random_channels: the control. Arms with the extra block
recompute its batch statistics before each evaluation: plain training has no such handicap, and a comparison without it
would be unfair to all of them.

erase: the pixels of the drawn classes, at the layer that the trial writes, else at the input; and its controls, with
the same draws: ignore: their labels are ignored, nothing is removed (class weighting in disguise) · erase_elsewhere:
the pixels that they have in another image of the batch, which hide context too where contexts are large ·
erase_blocks: as many pixels in small random blocks. What else a written mechanism erase says (fill, dilate) holds in
all of them.
"""

_WHERE_UNWRITTEN = ("train.class_weights", "suppression.layer")
"""What a preset sets only where the trial does not."""
REPLACE_SUPPRESSION = tuple(name for name, settings in PRESETS.items() if "suppression" in settings)
"""Presets that put another section in place of the written `suppression`, its layer too."""

_DROPPED = ("extra block", "two-path loss", "class dropped")
_FULL = (*_DROPPED, "suppression term", "channels by class")
_OFFICIAL = (*_FULL, "small initial weights")
_ERASED = ("labels ignored", "pixels erased")
COMPONENTS: Mapping[Preset, tuple[str, ...]] = {
    "none": (),
    "official": _OFFICIAL,
    "official_recalibrated": _OFFICIAL,
    "official_ranks": _OFFICIAL,
    "plain": (),
    "plain_small": ("small initial weights",),
    "class_weighted": ("class weights",),
    "ohem": ("hard pixels alone",),
    "focal": ("focal loss",),
    "dice": ("Dice loss",),
    "lovasz": ("Lovász loss",),
    "logit_adjusted": ("adjusted logits",),
    "rare_class_sampling": ("rare class sampling",),
    "rare_copy_paste": ("rare classes pasted",),
    "block": _DROPPED[:1],
    "two_path": _DROPPED[:2],
    "dropped_path": (*_DROPPED, "channels by class"),
    "full": _FULL,
    "random_channels": (*_DROPPED, "suppression term"),
    "erase": (*_ERASED, "masks of classes", "of the same image"),
    "ignore": _ERASED[:1],
    "erase_elsewhere": (*_ERASED, "masks of classes"),
    "erase_blocks": _ERASED,
}
"""What each preset consists of, for the check marks of an ablation table."""

IN_WORDS: Mapping[Preset, str] = {
    "none": "the model without suppression",
    "official": "DropClass as published, from its small initial weights",
    "official_recalibrated": "DropClass as published, judged on batch statistics that fit the evaluation",
    "official_ranks": "DropClass as its code runs on four ranks: two classes a step",
    "plain": "the model without suppression",
    "plain_small": "the model without suppression, from the small initial weights of official",
    "class_weighted": "without suppression, the loss weighted by class",
    "ohem": "without suppression, trained on hard pixels alone",
    "focal": "without suppression, with the focal loss",
    "dice": "without suppression, with the Dice loss",
    "lovasz": "without suppression, with the Lovász loss",
    "logit_adjusted": "without suppression, with logits adjusted by class frequency",
    "rare_class_sampling": "without suppression, images with rare classes drawn more often",
    "rare_copy_paste": "without suppression, rare classes pasted into other images",
    "block": "the extra convolution alone",
    "two_path": "both paths, nothing dropped",
    "dropped_path": "drops without the suppression term",
    "full": "suppression as the file writes it",
    "random_channels": "the control: random channels in place of a class's",
    "erase": "the pixels of the drawn classes erased",
    "ignore": "the control: their labels ignored, nothing erased",
    "erase_elsewhere": "the control: the pixels erased that they have in another image",
    "erase_blocks": "the control: as many pixels erased in random blocks",
}
"""What each preset is, for a reader who does not know its name."""


def preset_in_words(name: str | None) -> str:
    """What a preset is in plain words; empty for what is none."""
    return next((words for preset, words in IN_WORDS.items() if preset == name), "")


def apply_preset(preset: Preset, trial: Mapping[str, JsonValue]) -> JsonObject:
    """The trial's tree with the preset's settings; arms with a suppressed path build on official where it has none."""
    tree = dict(trial)
    if PRESETS[preset].get("suppression", {}) is not None and tree.get("suppression") is None:
        tree["suppression"] = {}
    for path, value in PRESETS[preset].items():
        section, _, key = path.partition(".")
        written = tree.get(section)
        inside = written.get(key) if isinstance(written, dict) else None
        if path in _WHERE_UNWRITTEN and inside is not None:
            continue
        if not key or isinstance(written, dict):  # what is no mapping is refused as it is written
            tree = set_at(tree, path, _with_written(value, inside))
    return tree


def _with_written(value: JsonValue, written: JsonValue) -> JsonValue:
    """The mechanism erase of a preset with what a written one says besides."""
    if isinstance(value, dict) and isinstance(written, dict) and value.get("name") == written.get("name") == "erase":
        return {**written, **value}
    return value
