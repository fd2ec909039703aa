"""The arms of a comparison as a table: means, paired differences with intervals, adjusted p values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from rich.table import Table
from rich.text import Text

from orchestrator.store.ranking import block_values
from orchestrator.store.stage_plan import StagePlan
from orchestrator.store.trial_record import Record
from orchestrator.studyfile import Objective
from orchestrator.terminal.beside import arrow
from orchestrator.terminal.formats import figures_table, folded, number
from trainable.evaluate.metrics.best_epoch import best_epoch_label

MOST_ARMS = 40
"""Arms that a terminal shows; the report shows all."""
HEAD, NAME, NARROW_NAME = 12, 20, 14
"""Columns of a metric's name above its values, of an arm's name, and of that on a narrow terminal."""
WIDE = 100
"""Columns from which on everything stands on one line."""


@dataclass(frozen=True)
class Judged:
    """What the statistics say of an arm beside the baseline."""

    low: float | None
    """95 % interval of the mean difference; None where there is none."""
    high: float | None
    p: float | None
    """Adjusted for all arms."""
    verdict: str
    """``better``, ``worse`` or ``not shown``."""

    @property
    def interval(self) -> str:
        """The interval; a dash for none."""
        return "-" if self.low is None or self.high is None else f"[{self.low:+.3f}, {self.high:+.3f}]"

    @property
    def probability(self) -> str:
        """The adjusted p and the verdict."""
        p = "-" if self.p is None else "<0.001" if self.p < 0.0005 else f"{self.p:.3f}"
        return f"{p} {self.verdict}" if self.verdict != "not shown" else p


def arms_table(
    records: Sequence[Record], plan: StagePlan, objective: Objective, judged: Mapping[str, Judged], width: int
) -> Table:
    """A row per arm: mean and standard deviation over its seeds, mean difference over the pairs with the baseline.

    Then the interval and the adjusted p of the difference as far as they are known. Deviation and best epochs where
    there is room.
    """
    label = best_epoch_label(greater=objective.mode == "max")
    roomy = width >= WIDE or not judged
    heads = [folded(f"{objective.metric} {arrow(objective)}", HEAD), *(["sd"] if roomy else []), "n", "difference"]
    heads += ["95 % interval", "adjusted p"] if judged else []
    heads += [f"{label} (difference)"] if roomy else []
    table = figures_table("arm", heads)
    values = block_values(records, plan, lambda record: record.last(objective.metric))
    best = block_values(records, plan, lambda record: record.best_value(objective))
    for name in _shown(plan, values, objective):
        runs = values[name]
        sd = stdev(runs.values()) if len(runs) > 1 else None
        difference, of_best = _difference(values, plan.baseline, name), _difference(best, plan.baseline, name)
        cells = [number(_mean(runs)), *([number(sd)] if roomy else []), str(len(runs)), difference]
        if judged:
            own = judged.get(name)
            cells += [own.interval, own.probability] if own else ["-", "-"]
        cells.append(number(_mean(best[name])) + (f" ({of_best})" if of_best != "-" else ""))
        arm = folded(name, NAME if width >= WIDE else NARROW_NAME)
        table.add_row(Text(arm, style=_style(judged.get(name))), *cells[: len(heads)])
    if len(plan.arms) > MOST_ARMS:
        table.caption = f"{len(plan.arms) - MOST_ARMS} more arms are in the report"
    return table


def _style(judged: Judged | None) -> str:
    return {"better": "green", "worse": "red"}.get(judged.verdict, "") if judged else ""


def _shown(plan: StagePlan, values: Mapping[str, Mapping[int, float]], objective: Objective) -> list[str]:
    """Names of the arms in their order; of very many the baseline and the best."""
    names = [arm.name for arm in plan.arms]
    if len(names) <= MOST_ARMS:
        return names
    sign = 1 if objective.mode == "max" else -1
    means = {name: sign * mean for name in names if (mean := _mean(values[name])) is not None}
    best = sorted(means, key=lambda name: (name != plan.baseline, -means[name]))[:MOST_ARMS]
    return [name for name in names if name in best]


def _mean(runs: Mapping[int, float]) -> float | None:
    return fmean(runs.values()) if runs else None


def _difference(values: Mapping[str, Mapping[int, float]], baseline: str, arm: str) -> str:
    """Mean over the pairs, with its sign; a dash for the baseline itself and where there is no pair."""
    runs, reference = values[arm], values[baseline]
    pairs = [runs[block] - reference[block] for block in runs if block in reference and arm != baseline]
    return f"{fmean(pairs):+.4f}" if pairs else "-"
