"""What the networks see: predictions of plain training, of the best and of the baseline on the same frames."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from orchestrator.report.charts.prediction_pictures import predictions_side_by_side
from orchestrator.report.pages.document import Block, Heading, Paragraph, Photograph
from orchestrator.report.pages.numbers import listed
from orchestrator.report.sections.comparison_results import StageResults
from orchestrator.report.source import Results, Run
from orchestrator.store.short_picks import short_picks
from orchestrator.store.trial_record import reference_key

MOST_COLUMNS = 4
"""Predictions beside each other: more cannot be seen on a page."""
PLAIN = "plain"


def seen_runs(references: Sequence[Run], front: Sequence[Run]) -> Mapping[str, Run]:
    """Of a search, by what stands above: plain training, the best, then the other references."""
    plain = [run for run in references if run.key == reference_key(PLAIN)]
    others = [run for run in references if run not in plain]
    named = {run.key.replace("-", ": ", 1): run for run in plain}
    named |= {f"best ({run.key}): {short_picks(run.picks)}": run for run in front[:1]}
    return named | {run.key.replace("-", ": ", 1): run for run in others}


def arm_runs(stage: StageResults, metric: str) -> Mapping[str, Run]:
    """Of a comparison, on the first seed that all have trained to the end: baseline, the best arm, plain training."""
    differences, sign = stage.differences(metric), 1 if stage.results.greater_is_better(metric) else -1
    others = [arm for arm in stage.others if differences[arm].n]
    best = sorted(others, key=lambda arm: -sign * differences[arm].difference)[:1]
    plain = [arm.name for arm in stage.arms if PLAIN in (arm.name, arm.levels.get("preset"))][:1]
    arms = list(dict.fromkeys([*plain, stage.plan.baseline, *best]))
    for block in stage.blocks:
        runs = {arm: stage.runs.get((arm, block)) for arm in arms}
        if all(run is not None and run.complete for run in runs.values()):
            seed = stage.plan.seeds[block]
            return {f"{_role(stage, arm, best)}, seed {seed}": run for arm, run in runs.items() if run is not None}
    return {}


def _role(stage: StageResults, arm: str, best: Sequence[str]) -> str:
    roles = [word for word, is_one in (("baseline", arm == stage.plan.baseline), ("best mean", arm in best)) if is_one]
    return f"{arm} ({', '.join(roles)})" if roles else arm


def prediction_blocks(results: Results, name: str, title: str, runs: Mapping[str, Run]) -> Iterator[Block]:
    """A picture of several runs' predictions; why there is none where some were to be there."""
    kept = [(head, picture) for head, run in runs.items() if (picture := results.predictions(run)) is not None]
    if len(kept) < 2:
        return
    yield Heading(f"Predictions in the {title.lower()}", level=3)
    with suppress(OSError, SyntaxError):  # what Pillow says of a damaged picture, which is left out
        pasted = predictions_side_by_side(kept[:MOST_COLUMNS])
        if pasted is None:
            yield Paragraph("The runs show different frames, so their predictions are not put side by side.")
            return
        jpeg, heads = pasted
        caption = (
            f"{title}: predictions after the last epoch on some frames of the evaluation split, chosen from the labels "
            f"alone: image, truth, {listed(heads)}. An illustration, no evidence."
        )
        yield Photograph(f"{name}-predictions", caption, jpeg)
