"""The places of the product that wait for the GPU, as ``torch.cuda.set_sync_debug_mode`` sees them.

Three training steps of trials that cover every strategy of sampling, mechanism, layer and source of importance; then
an evaluation. A step should wait nowhere: the CPU then prepares the next one while the GPU computes. Copies of pageable
memory with ``non_blocking`` are not seen; "host ms" of the other sections shows whether they matter.
"""

import json
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import get_args
from unittest.mock import patch

import torch

from gpu_sections.trials import SUPPRESSION, Row, device, small_network, trial
from trainable.config import TrialConfig
from trainable.data.frames import Splits, load_splits
from trainable.data.statistics import train_statistics
from trainable.evaluate.evaluate import evaluate
from trainable.evaluate.metrics.rare import rare_classes
from trainable.failure import TrialFailed
from trainable.suppression.sampling_sections import BuiltInSampling
from trainable.train.compute import choose_compute
from trainable.train.engine import prepare
from trainable.train.epoch import Training, train_epoch
from trainable.train.meter import Meter

SAID = "called a synchronizing CUDA operation"
STEPS = 3


def measure(tiny: bool) -> Iterator[Row]:
    """Yield a row per trial with the places where its steps wait; then the places of an evaluation."""
    for name, config in _trials(tiny).items():
        splits = load_splits(config.data)
        statistics = train_statistics(config.data)
        compute = choose_compute(str(device()), config.train.precision)
        training = prepare(config, compute, len(splits.train), statistics)
        _steps(training, splits)  # allocations, kernels
        places, stopped = _places_of_steps(training, splits)
        yield {"three steps of": name, "waits at": _listed(places), "in mode error": stopped}
    with _mode("warn"), _recorded() as places:
        evaluate(config, training.model, training.compute, splits, rare_classes(statistics.pixels))
    yield {
        "an evaluation of": f"{len(splits.val)} frames, {len(splits.evaluated())} splits",
        "waits at": _listed(places),
    }


def _trials(tiny: bool) -> dict[str, TrialConfig]:
    """Every part that may wait, in few trials: most differ from the first in one part."""
    samplings = [get_args(kind.model_fields["name"].annotation)[0] for kind in get_args(get_args(BuiltInSampling)[0])]
    listed = {"name": "listed", "classes": ["meadow", "sand"]}
    layers = ["decoder", "encoder.3"]
    parts: list[Mapping[str, object]] = [
        *({"sampling": listed if name == "listed" else name, "granularity": "image"} for name in samplings),
        {"sampling": "present", "granularity": "batch"},
        *({"mechanism": name, "layer": layers} for name in ("gate", "hard", "projection", "random_channels")),
        *({"mechanism": name, "granularity": "image"} for name in ("hard", "projection", "random_channels")),
        *({"importance": "gradient", "layer": layer} for layer in layers),
        *({"mechanism": {"name": "erase", "fill": fill}, "layer": "input"} for fill in ("noise", "blur", "swap")),
        *({"mechanism": {"name": "erase", "mask": mask}, "layer": layers} for mask in ("class", "blocks")),
    ]
    named = {"plain": None, **{json.dumps(part): {**SUPPRESSION, **part} for part in parts}}
    augment = {"scale": [0.5, 2.0], "crop": [64, 64], "crop_max_share": 0.75, "flip": True, "photometric": 0.5}
    data = {"name": "shapes", "train_images": 16, "val_images": 4, "augment": augment}
    train = {"epochs": 1, "batch_size": 4, "class_weights": "log_frequency"}
    trials = {name: trial(data, *small_network(tiny), train, suppression) for name, suppression in named.items()}
    for more in ({"precision": "fp16", "clip_norm": 1.0}, {"accumulate": 2}, {"loss": "ohem"}, {"loss": "dice"}):
        trials[json.dumps(more)] = trial(data, *small_network(tiny), {**train, **more}, {**SUPPRESSION})
    return dict(list(trials.items())[::6]) if tiny else trials


def _steps(training: Training, splits: Splits, mode: str = "default") -> None:
    """Steps of ``train_epoch``, thread and all, in a mode that ends before it looks at the losses."""
    usual = Meter.metrics

    def metrics(meter: Meter) -> dict[str, float]:
        _end_mode()
        return usual(meter)

    with _mode(mode), patch.object(Meter, "metrics", metrics):
        train_epoch(training, splits.train, 1, limit=STEPS)


def _places_of_steps(training: Training, splits: Splits) -> tuple[Counter[str], str]:
    with _recorded() as places:
        _steps(training, splits, "warn")
    try:
        _steps(training, splits, "error")
    except (RuntimeError, TrialFailed) as error:
        return places, str(error).splitlines()[0]
    return places, "passed"


@contextmanager
def _mode(mode: str) -> Iterator[None]:
    if device().type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        _end_mode()


def _end_mode() -> None:
    if device().type == "cuda":
        torch.cuda.set_sync_debug_mode("default")


@contextmanager
def _recorded() -> Iterator[Counter[str]]:
    """Count the waits by the innermost place in ``trainable``."""
    places: Counter[str] = Counter()

    def note(message: Warning | str, *_: object, **__: object) -> None:
        if SAID in str(message):
            frames = [f for f in traceback.extract_stack() if "/trainable/" in f.filename] or traceback.extract_stack()
            at = frames[-1]
            places[f"{'/'.join(Path(at.filename).parts[-3:])}:{at.lineno} {at.line}"] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        yield places


def _listed(places: Counter[str]) -> str:
    return "; ".join(f"{count} x {place}" for place, count in places.most_common()) or "nowhere"
