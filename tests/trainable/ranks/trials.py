"""What one process and a pair of ranks train alike, in float64: short trials, and what they leave behind.

``python -m tests.trainable.ranks.trials RANK RANKS STORE GIVEN OUT`` is one rank: it continues the states in GIVEN, and
writes what it did to OUT.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor

from trainable.config import TrialConfig, read_trial
from trainable.data.frames import load_splits
from trainable.data.statistics import train_statistics
from trainable.model.export import folded
from trainable.suppression.drop import Drop
from trainable.suppression.sampling import ClassSampler
from trainable.train import engine
from trainable.train.checkpoint import from_bytes, to_bytes
from trainable.train.compute import Compute
from trainable.train.epoch import Training, train_epoch
from trainable.train.meter import Meter

STEPS = 5
BATCH = 4
# scaled crops leave ignored pixels, more on some ranks than on others
AUGMENT = {"scale": [0.6, 1.5], "crop": [32, 32], "flip": True}
TRIAL: dict[str, Any] = {
    "data": {"name": "shapes", "size": [32, 32], "train_images": BATCH * STEPS, "val_images": 7, "augment": AUGMENT},
    "model": {"arch": "linknet", "encoder": "tu-test_resnet", "encoder_weights": None},
    "train": {"epochs": 1, "batch_size": BATCH, "lr": 1e-2},
}
SUPPRESSION = {"schedule": "constant", "p_max": 0.8, "loss_ramp": "constant", "alpha": 1.0}

STRATEGIES: tuple[Any, ...] = (
    "uniform", "present", "frequency", "inverse_frequency", "effective_number", "temperature",
    {"name": "difficulty", "momentum": 0.2, "tau": 4}, "co_occurrence", "round_robin",
    {"name": "listed", "classes": ["sand", "disk_rising"]},
)  # fmt: skip
GRANULARITIES: tuple[Any, ...] = ("batch", "image", {"name": "groups", "shares": [1, 3]})
LAYERS = ("decoder", "encoder.3", "input")

Sections = dict[str, dict[str, Any]]


def named(value: Any) -> str:
    return str(value["name"] if isinstance(value, dict) else value)


def combinations() -> dict[str, Sections]:
    """Every strategy with every granularity at every layer."""
    return {
        f"{layer}-{named(granularity)}-{named(strategy)}": {
            "suppression": {"layer": layer, "granularity": granularity, "sampling": strategy}
        }
        for layer, granularity, strategy in product(LAYERS, GRANULARITIES, STRATEGIES)
    }


def others() -> dict[str, Sections]:
    """What else sees more than one image of a batch."""
    erased = {"layer": "input", "granularity": "image", "sampling": "present"}
    weights = [0.5, 1, 2, 2, 3, 0]
    cases: dict[str, Sections] = {"plain": {}, "plain-weights": {"train": {"class_weights": weights}}}
    for loss in ({"name": "ohem", "threshold": 0.2, "min_kept": 0.3}, "focal", "dice", "lovasz", "logit_adjusted"):
        train = {"loss": loss, "class_weights": weights, "optimizer": "sgd"}
        cases[f"loss-{named(loss)}"] = {"train": train, "suppression": {"granularity": "image"}}
    for mechanism in ("hard", "projection", "random_channels"):
        cases[mechanism] = {"suppression": {"mechanism": mechanism, "granularity": "image", "num_classes": 2}}
    for layer in ("decoder", "encoder.3"):
        cases[f"gradient-{layer}"] = {"suppression": {"layer": layer, "importance": "gradient", "gate_norm": "mean"}}
    for mask in ("class", "elsewhere", "blocks"):
        cases[f"erase-{mask}"] = {"suppression": {**erased, "mechanism": {"name": "erase", "mask": mask, "dilate": 1}}}
    for fill in ("noise", "mean", "blur", "swap"):
        cases[f"erase-{fill}"] = {"suppression": {**erased, "mechanism": {"name": "erase", "fill": fill}}}
    inner = {"name": "erase", "fill": "swap", "mask": "elsewhere"}
    cases["erase-maps"] = {"suppression": {"layer": ["encoder.2", "decoder"], "mechanism": inner}}
    cases["keep"] = {"suppression": {"reweight": "keep", "granularity": "image"}, "train": {"class_weights": weights}}
    cases["several-layers"] = {"suppression": {"layer": ["encoder.2", "decoder"], "granularity": "image"}}
    cases["clip"] = {"train": {"clip_norm": 0.1, "encoder_lr_factor": 0.5, "optimizer": "sgd"}, "suppression": {}}
    cases["rare"] = {"data": {"rare_class_sampling": {}, "rare_copy_paste": 0.7}}
    cases["share"] = {"data": {"augment": {**AUGMENT, "crop_max_share": 0.4, "photometric": 0.5}}}
    return cases


def trial(sections: Sections) -> TrialConfig:
    """The trial of some sections, each over the default one."""
    tree: dict[str, Any] = {name: dict(section) for name, section in TRIAL.items()}
    for name, section in sections.items():
        tree[name] = {**(SUPPRESSION if name == "suppression" else tree.get(name, {})), **section}
    return read_trial(tree)


class Double(Compute):
    """Compute in float64, in which nothing but mistakes is larger than 1e-9."""

    def network_input(self, images_B3HW: Tensor) -> Tensor:
        return super().network_input(images_B3HW).double()


def prepared(config: TrialConfig, *arguments: Any) -> Training:
    training = engine_prepare(config, *arguments)
    training.model.double()
    return training


engine_prepare = engine.prepare


@contextmanager
def in_double() -> Iterator[None]:
    """Let ``fit`` train in float64."""
    compute = Double(torch.device("cpu"), bfloat16=False)
    with (
        mock.patch("trainable.train.engine.prepare", prepared),
        mock.patch("trainable.train.engine.choose_compute", return_value=compute),
    ):
        yield


@dataclass
class Watched:
    """What the steps did."""

    losses: list[float]
    draws: list[Drop | None]


@contextmanager
def watching() -> Iterator[Watched]:
    watched = Watched([], [])
    add, draw = Meter.add, ClassSampler.draw

    def noting_loss(meter: Meter, loss: Tensor, *rest: Any) -> None:
        watched.losses.append(float(loss.detach()))
        add(meter, loss, *rest)

    def noting_draw(*arguments: Any) -> Drop | None:
        watched.draws.append(draw(*arguments))
        return watched.draws[-1]

    with mock.patch.object(Meter, "add", noting_loss), mock.patch.object(ClassSampler, "draw", noting_draw):
        yield watched


def trained(sections: Sections) -> dict[str, Any]:
    """Losses, draws, weights and statistics of five steps, and a hash of all that is kept."""
    config = trial(sections)
    splits, statistics = load_splits(config.data), train_statistics(config.data)
    training = prepared(config, Double(torch.device("cpu"), bfloat16=False), len(splits.train), statistics)
    with watching() as watched:
        metrics = train_epoch(training, splits.train, 1)
    metrics.pop("suppression_seconds", None)
    draws = [None if d is None else {"keep": d.keep_GC, "seed": d.seed, "share": d.share} for d in watched.draws]
    model = {name: value.clone() for name, value in training.model.state_dict().items() if isinstance(value, Tensor)}
    digest = sha256(to_bytes(training.state_dict())).hexdigest()
    learned = training.sampler.state_dict() if training.sampler else {}
    return {
        "losses": watched.losses, "draws": draws, "metrics": metrics, "model": model, "sampler": learned,
        "digest": digest,
    }  # fmt: skip


WHOLE: dict[str, Sections] = {
    "encoder": {
        "suppression": {
            "layer": ["encoder.2", "decoder"], "granularity": "image", "sampling": "difficulty", "recalibrate": True,
            "start": 0.3,
        },
        "train": {"epochs": 3},
        "evaluation": {
            "context": {"frames": 5, "every": 1}, "corruptions": {"frames": 5, "every": 1}, "flip": True,
        },
    },
    "input": {
        "suppression": {"layer": "input", "granularity": "image", "sampling": "present"},
        "train": {"epochs": 3, "optimizer": "sgd"},
    },
}  # fmt: skip
"""Trials of several epochs, which are evaluated."""


def whole(sections: Sections, resume_from: dict[str, Any] | None = None, epochs: int | None = None) -> dict[str, Any]:
    """Results of the epochs of a trial, by number, and its state after each, as a checkpoint holds it."""
    results: dict[str, Any] = {}
    with in_double():
        for result in engine.fit(trial(sections), device="cpu", threads=1, resume_from=resume_from):
            metrics = {name: value for name, value in result.metrics.items() if not name.endswith("seconds")}
            results[str(result.epoch)] = {
                "metrics": metrics, "confusion": result.confusion, "reliance": result.reliance,
                "state": from_bytes(to_bytes(result.state())),
            }  # fmt: skip
            if epochs is not None and result.epoch == epochs:
                break
    return results


@contextmanager
def on_rank(rank: int, ranks: int, store: str) -> Iterator[None]:
    """One of the ranks that meet at a file."""
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=ranks, timeout=timedelta(seconds=120)
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def refusal(sections: Sections) -> str:
    """What a trial that cannot go on says, by the type of its error."""
    try:
        for _ in engine.fit(trial(sections), device="cpu"):
            pass
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


REFUSED: dict[str, Sections] = {
    "batch": {"train": {"batch_size": 5}},
    "one batch": {"data": {"train_images": 3}},
    "not finite": {"train": {"lr": 1e20}},
}


def alone(sections: Sections) -> dict[str, Any]:
    """What rank 0 does with a result while the others wait, and the network that it exports."""
    with in_double():
        results = engine.fit(trial(sections), device="cpu")
        for _ in range(2):
            result = next(results)
            if dist.get_rank() == 0:
                pictures = {**result.pictures(), "gradcam": result.gradcam()}
                network = folded(result.training.model, result.training.config.model)
                kinds = sorted({type(module).__name__ for module in network.modules()})
                state = to_bytes(result.state())
        results.close()
    return {"pictures": pictures, "kinds": kinds, "state": state} if dist.get_rank() == 0 else {}


def _without_copies(result: dict[str, Any]) -> dict[str, Any]:
    """Weights of rank 0 alone: those of the others have the same hash."""
    return result if dist.get_rank() == 0 else {**result, "model": {}}


def on_ranks(stopped: dict[str, Any]) -> dict[str, Any]:
    """Everything that the pair does; ``stopped`` holds states of whole trials that one process began."""
    cases = combinations() | others()
    return {
        "cases": {name: _without_copies(trained(sections)) for name, sections in cases.items()},
        "whole": {name: whole(sections) for name, sections in WHOLE.items()},
        "continued": {
            name: {epoch: whole(WHOLE[name], resume_from=state) for epoch, state in states.items()}
            for name, states in stopped.items()
        },
        "refused": {name: refusal(sections) for name, sections in REFUSED.items()},
        "alone": alone(WHOLE["encoder"]),
    }


if __name__ == "__main__":
    rank, ranks, store, given, out = sys.argv[1:]
    torch.set_num_threads(1)
    with on_rank(int(rank), int(ranks), store):
        torch.save(on_ranks(from_bytes(Path(given).read_bytes())), out)
