"""Which trials take equally much GPU memory: those that agree in all but what certainly moves none. Pure.

The list names what is left out, so a setting that nobody thought of makes a class of its own: one probe more.
"""

import hashlib
import json
from collections.abc import Mapping

from pydantic import JsonValue

from trainable.configfile.node import JsonObject

MOVES_NONE: Mapping[str, JsonValue] = {
    "preset": True,
    "seed": True,
    "data": {"root": True, "seed": True, "rho": True, "max_megapixels": True,
             "augment": {"flip": True, "crop_max_share": True, "photometric": True},
             "rare_class_sampling": {"temperature": True}},
    "model": {"encoder_weights": True, "weights": True, "init": True},
    "train": {"epochs": True, "lr": True, "poly_power": True, "warmup_epochs": True, "warmup_steps": True,
              "encoder_lr_factor": True, "class_weights": True, "optimizer": {"weight_decay": True}},
    "suppression": {"p_max": True, "schedule": True, "progress": True, "loss_ramp": True, "alpha": True,
                    "gradient_every": True, "norm_momentum": True, "start": True, "sampling": True},
    "evaluation": {"test_at_end": True},
}  # fmt: skip
"""Settings that decide what is computed and not how much is held; ``train.memory: exact`` is standard at first."""


def memory_class(config: JsonObject) -> str:
    """Name of a trial's class; equal for trials that need one probe."""
    kept = _without(config, MOVES_NONE)
    train = kept.get("train")
    if isinstance(train, dict) and train.get("memory") == "exact":
        kept["train"] = {name: value for name, value in train.items() if name != "memory"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def _without(tree: JsonObject, left_out: Mapping[str, JsonValue]) -> JsonObject:
    kept: JsonObject = {}
    for name, value in tree.items():
        rule = left_out.get(name)
        if rule is True:
            continue
        kept[name] = _without(value, rule) if isinstance(value, dict) and isinstance(rule, dict) else value
    return kept
