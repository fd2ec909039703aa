"""Studies that never ran: directories written by the real storage code, values by a plausible generator."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.report.build import compose
from orchestrator.report.pages.document import Document
from orchestrator.report.source import read_results
from orchestrator.store.records import Store
from orchestrator.store.results_table import write_table
from orchestrator.store.stage_plan import Arm, StagePlan
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Choice, Domain, Study, Value, load, reference
from trainable.data.classes import SHAPES
from trainable.evaluate.metrics.names import iou_name
from trainable.presets import Preset

FILE = """
study: made
objective: {metric: val/miou, mode: max}
data: {name: shapes}
model: {arch: fpn, encoder: resnet18, encoder_weights: null}
train: {epochs: 5, batch_size: 20, lr: {log_uniform: [1.0e-4, 1.0e-2]}}
suppression:
  p_max: {uniform: [0.0, 1.0]}
  alpha: {log_uniform: [0.01, 10.0]}
  gate_norm: mean
  layer: {choice: [decoder, encoder.4, [encoder.4, decoder]]}
  sampling:
    choice:
      - uniform
      - {name: inverse_frequency, tau: {uniform: [0.25, 2.0]}}
search: {sampler: random, trials: 40}
"""
PRESET_ARMS = {"plain": 0.0, "class_weighted": 0.012, "two_path": 0.001, "dropped_path": -0.004, "full": 0.05,
               "random_channels": -0.06}  # fmt: skip
"""Arms of an ablation and how much better each is than the baseline."""


@dataclass
class MadeStudy:
    """A study's directory in the making."""

    store: Store
    study: Study
    rng: np.random.Generator
    records: list[Record] = field(default_factory=list)

    def search(self, trials: int, *, failed: int = 0, pruned: int = 0, classes: Sequence[str] = SHAPES) -> None:
        """Add search trials; the first ones failed, the next ones were pruned."""
        for number in range(trials):
            picks: dict[str, Value] = {}
            config = self.study.space.trial(partial(self._pick, picks), seed=number).model_dump(mode="json")
            suppression = config["suppression"]
            gain = 0.1 - 0.2 * (suppression["p_max"] - 0.4) ** 2 - 0.01 * abs(math.log10(config["train"]["lr"]) + 3)
            gain += 0.03 * (suppression["sampling"]["name"] == "uniform")
            planned = Planned(f"search-{number:04d}", "search", number, config, picks)
            epochs = self.epochs(gain, seed=number, classes=classes)
            if number < failed:
                self.records.append(Record(planned, epochs[:1], State.FAILED, "ValueError: loss is not finite"))
            elif number < failed + pruned:
                self.records.append(Record(planned, epochs[:3], State.PRUNED, "stopped early by asha after 3 epochs"))
            else:
                self.records.append(Record(planned, epochs, State.COMPLETE))

    def references(self) -> None:
        """Add the plain and the official reference."""
        names: tuple[Preset, Preset] = ("plain", "official")
        for number, (gain, name) in enumerate(zip((0.0, 0.02), names, strict=True)):
            config = reference(self.study, name, number).model_dump(mode="json")
            planned = Planned(f"reference-{name}", "reference", number, config, None)
            self.records.append(Record(planned, self.epochs(gain, seed=number), State.COMPLETE))

    def compare(
        self,
        plan: StagePlan,
        gains: Mapping[str, float],
        *,
        states: Mapping[tuple[str, int], tuple[State, str]] | None = None,
        classes: Sequence[str] = SHAPES,
        lacking: Sequence[str] = (),
        missing: Sequence[tuple[str, int]] = (),
    ) -> None:
        """Add a comparison: its plan and its runs.

        Args:
            plan: What was planned.
            gains: How much better than nothing each arm is.
            states: How runs ended that are not complete, by arm and block.
            classes: Classes with an IoU.
            lacking: Metrics that no run reports.
            missing: Runs that never began.
        """
        plan.write(self.store.objects)
        number = 0
        for block, seed in enumerate(plan.seeds):
            for arm in plan.arms:
                if (arm.name, block) in missing:
                    continue
                planned = Planned(
                    f"{plan.stage}-{number:04d}", plan.stage, number, self.config(seed=seed), None, {}, arm.name, block
                )
                state, reason = (states or {}).get((arm.name, block), (State.COMPLETE, None))
                epochs = self.epochs(gains[arm.name], seed=seed, classes=classes, lacking=lacking)
                self.records.append(Record(planned, epochs if state is State.COMPLETE else epochs[:2], state, reason))
                number += 1

    def write(self, rare: Sequence[str] = ("disk_rising", "square_falling")) -> Store:
        """Write the table and the frozen specification."""
        self.store.write_study(self.study.resolved(), rare_classes={"shapes": list(rare)} if rare else None)
        write_table(self.store, self.records)
        return self.store

    def config(self, seed: int = 0, **changes: Any) -> dict[str, Any]:
        """The configuration in the middle of the space, with some sections replaced."""
        trial = self.study.space.trial(self.study.space.center(), seed).model_dump(mode="json")
        return {**trial, **changes}

    def epochs(
        self, gain: float, *, seed: int, classes: Sequence[str] = SHAPES, lacking: Sequence[str] = (), count: int = 5
    ) -> tuple[dict[str, float], ...]:
        """Metrics of each epoch: a learning curve that ends ``gain`` higher, the same luck for runs of one seed."""
        luck = np.random.default_rng(seed).normal(0, 0.02)
        noise = self.rng.normal(0, 0.006, size=(count, len(classes) + 1))
        made = []
        for epoch in range(1, count + 1):
            level = 0.5 + luck + (0.15 + gain) * (1 - math.exp(-epoch / 2)) + noise[epoch - 1, 0]
            ious = [level - 0.04 * index + noise[epoch - 1, index + 1] for index in range(len(classes))]
            values = {
                "val/miou": float(np.mean(ious)),
                "val/rare_miou": float(ious[-1]),
                "val/ece": 0.2 - gain / 4 - 0.01 * epoch,
                "val/context_gap": 0.3 - 2 * gain + float(noise[epoch - 1, 0]),
                "val/object_miou_swapped": level - 0.15,
                "epoch_seconds": float(self.rng.uniform(1, 2)),
            }
            values |= {iou_name(name): float(iou) for name, iou in zip(classes, ious, strict=True)}
            made.append({name: value for name, value in values.items() if name not in lacking})
        return tuple(made)

    def _pick(self, picks: dict[str, Value], name: str, domain: Domain) -> Value:
        if isinstance(domain, Choice):
            picks[name] = domain.labels[int(self.rng.integers(len(domain.labels)))]
        elif domain.log:
            picks[name] = float(np.exp(self.rng.uniform(math.log(domain.low), math.log(domain.high))))
        else:
            picks[name] = float(self.rng.uniform(domain.low, domain.high))
        return picks[name]


def preset_plan(seeds: int = 6, **changes: Any) -> StagePlan:
    """An ablation of presets."""
    arms = tuple(Arm(name, {"preset": name}) for name in PRESET_ARMS)
    plan = {
        "stage": "ablation",
        "design": "arms",
        "baseline": "plain",
        "arms": arms,
        "seeds": tuple(range(100, 100 + seeds)),
    }
    return StagePlan(**{**plan, **changes})


def confirm_plan(seeds: int = 8) -> StagePlan:
    """A confirmation of two configurations against the references."""
    levels = ({"suppression": None}, {"suppression": {}}, {"suppression.p_max": 0.41}, {"suppression.p_max": 0.38})
    names = ("plain", "official", "search-0007", "search-0021")
    arms = tuple(Arm(name, level) for name, level in zip(names, levels, strict=True))
    return StagePlan("confirm", "confirm", "plain", arms, tuple(range(500, 500 + seeds)))


CONFIRM_GAINS = {"plain": 0.0, "official": 0.004, "search-0007": 0.045, "search-0021": 0.038}


def factorial_plan(seeds: int = 4, design: str = "factorial") -> StagePlan:
    """Two factors at two levels and one at three."""
    factors = {
        "suppression": (None, {}),
        "train.class_weights": (None, "log_frequency"),
        "suppression.layer": ("decoder", "encoder.4", "encoder.5"),
    }
    arms = []
    for suppression in factors["suppression"]:
        for weights in factors["train.class_weights"]:
            for layer in factors["suppression.layer"]:
                levels = {"suppression": suppression, "train.class_weights": weights, "suppression.layer": layer}
                arms.append(Arm(f"arm-{len(arms)}", levels))
    aliases = ("suppression = suppression.layer:train.class_weights",) if design == "fractional" else ()
    return StagePlan("ablation", design, "arm-0", tuple(arms), tuple(range(seeds)), factors, aliases)


def factorial_gains(plan: StagePlan) -> dict[str, float]:
    """Suppression helps by 0.04, class weights by nothing, the layers differ by 0.01 each."""
    layers = ("decoder", "encoder.4", "encoder.5")
    return {
        arm.name: 0.04 * (arm.levels["suppression"] is not None) + 0.01 * layers.index(arm.levels["suppression.layer"])
        for arm in plan.arms
    }


Make = Callable[..., MadeStudy]


def begin(folder: Path, *overrides: str) -> MadeStudy:
    """Begin a study in a folder; further arguments are ``--set`` options."""
    path = folder / "made.yaml"
    path.write_text(FILE)
    study = load(path, overrides, env={})
    return MadeStudy(Store(str(folder / "studies"), study.spec.study), study, np.random.default_rng(7))


def document_of(made: MadeStudy) -> Document:
    """The report of a made study, before it takes a format."""
    results = read_results(made.write())
    return compose(results, results.chosen_metrics(None))
