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
    "none", "official", "plain", "plain_small", "class_weighted", "block", "two_path", "dropped_path", "full",
    "random_channels",
]  # fmt: skip

PRESETS: Mapping[Preset, Mapping[str, JsonValue]] = {
    "none": {"suppression": None},
    "official": {"suppression": {}, "model.init": "small"},
    "plain": {"suppression": None},
    "plain_small": {"suppression": None, "model.init": "small"},
    "class_weighted": {"suppression": None, "train.class_weights": "log_frequency"},
    "block": {
        "suppression.p_max": 0.0,
        "suppression.mechanism": {"name": "hard"},
        "suppression.loss_ramp": {"name": "constant", "weight": 1.0},
    },
    "two_path": {"suppression.p_max": 0.0},
    "dropped_path": {"suppression.alpha": 0.0},
    "full": {},
    "random_channels": {"suppression.mechanism": {"name": "random_channels"}},
}
"""Settings of each preset by dotted path.

none: no suppression · official: the paper's setting, initial weights too · (a) plain: cross-entropy, the same as none ·
plain_small: plain from official's initial weights, which cost a short training much · (b) class_weighted: weighted by
class, where the trial writes no class weights of its own (those hold in all arms) · (c) block: the extra
conv-BN-ReLU alone (capacity: its mechanism leaves the map as it is where nothing is dropped, and the suppressed path
has all the weight; the plain path is still computed, so its time is that of two paths) · (d) two_path: the two-path
loss without a drop · (e) dropped_path: drops without the suppression term · (f) full: as written · (g)
random_channels: the control.
"""

REPLACE_SUPPRESSION = tuple(name for name, settings in PRESETS.items() if "suppression" in settings)
"""Presets that put another section in place of the written `suppression`, its layer too."""

_DROPPED = ("extra block", "two-path loss", "class dropped")
_FULL = (*_DROPPED, "suppression term", "channels by class")
COMPONENTS: Mapping[Preset, tuple[str, ...]] = {
    "none": (),
    "official": (*_FULL, "small initial weights"),
    "plain": (),
    "plain_small": ("small initial weights",),
    "class_weighted": ("class weights",),
    "block": _DROPPED[:1],
    "two_path": _DROPPED[:2],
    "dropped_path": (*_DROPPED, "channels by class"),
    "full": _FULL,
    "random_channels": (*_DROPPED, "suppression term"),
}
"""What each preset consists of, for the check marks of an ablation table."""


def apply_preset(preset: Preset, trial: Mapping[str, JsonValue]) -> JsonObject:
    """The trial's tree with the preset's settings; arms with a suppressed path build on official where it has none."""
    tree = dict(trial)
    if PRESETS[preset].get("suppression", {}) is not None and tree.get("suppression") is None:
        tree["suppression"] = {}
    for path, value in PRESETS[preset].items():
        section, _, key = path.partition(".")
        written = tree.get(section)
        if path == "train.class_weights" and isinstance(written, dict) and written.get(key) is not None:
            continue
        if not key or isinstance(written, dict):  # what is no mapping is refused as it is written
            tree = set_at(tree, path, value)
    return tree
