"""The best epochs of a comparison's runs beside the last ones: described, for no test is made of them."""

from collections.abc import Mapping, Sequence
from statistics import fmean, median

from orchestrator.report.pages.document import Cell, Table, cells, slug
from orchestrator.report.pages.numbers import NOTHING, signed, spread
from orchestrator.report.sections.comparison_results import StageResults
from orchestrator.report.statistics.paired import Values
from trainable.evaluate.metrics.best_epoch import BestEpoch

NOTE = (
    "Published tables often show the best epoch, chosen by its score on the evaluation split. A value that was chosen "
    "for being good is biased, the more so the more an arm fluctuates, and so is its Δ, in either direction. It enters "
    "no test: p values and verdicts are of the last epoch. Δ: mean difference to {baseline} within seeds; both of "
    "the same runs."
)


def best_epoch_table(stage: StageResults, metric: str) -> Table:
    """A row per arm: last and best epoch, each with its paired difference, over the same runs."""
    last, best, label = stage.values(metric), _best_epochs(stage, metric), stage.results.best_epoch_label(metric)
    values = {arm: {block: one.value for block, one in runs.items()} for arm, runs in best.items()}
    heads = ("arm", f"{stage.results.arrow(metric)}, last epoch", "Δ", label, "Δ of best epochs", "which epochs")
    rows = []
    for name in (arm.name for arm in stage.arms):
        texts = (text for each in (last, values) for text in _mean_and_difference(each, stage.plan.baseline, name))
        rows.append((Cell(name), *cells((*texts, _which([one.epoch for one in best[name].values()])))))
    caption = f"{stage.title}: {label}, beside the last epoch"
    note = NOTE.format(baseline=stage.plan.baseline)
    return Table(f"{stage.plan.stage}-best-epoch-{slug(metric)}", caption, heads, tuple(rows), note=note)


def _best_epochs(stage: StageResults, metric: str) -> Mapping[str, Mapping[int, BestEpoch]]:
    """By arm and block, of the runs whose last epochs are compared."""
    best: dict[str, dict[int, BestEpoch]] = {}
    for arm, runs in stage.values(metric).items():
        known = {block: stage.results.best_epoch(stage.runs[arm, block], metric) for block in runs}
        best[arm] = {block: one for block, one in known.items() if one is not None}
    return best


def _mean_and_difference(values: Values, baseline: str, arm: str) -> tuple[str, str]:
    runs, reference = values[arm], values[baseline]
    if arm == baseline:
        return spread(list(runs.values())), "baseline"
    pairs = [value - reference[block] for block, value in runs.items() if block in reference]
    return spread(list(runs.values())), signed(fmean(pairs) if pairs else None)


def _which(epochs: Sequence[int]) -> str:
    """Median and range."""
    return f"{median(epochs):g} ({min(epochs)} to {max(epochs)})" if epochs else NOTHING
