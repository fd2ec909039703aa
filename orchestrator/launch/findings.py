"""What the statistics say at the end of a launch, for the summary; nothing that goes wrong here is the study's end."""

from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING

from orchestrator.driver.stop import Interruption
from orchestrator.launch.open_study import OpenStudy
from orchestrator.store.commands import with_setting
from orchestrator.store.ranking import ranked
from orchestrator.store.stage_plan import Stage
from orchestrator.store.trial_record import State
from orchestrator.terminal.arms_table import Judged
from orchestrator.terminal.console import announced
from orchestrator.terminal.formats import duration
from orchestrator.terminal.summary import NOTHING_FOUND, Findings
from trainable.evaluate.metrics.names import EPOCH_SECONDS

if TYPE_CHECKING:
    from orchestrator.report.source import Results

LIMIT_S = 20.0
"""How long a stop waits for the statistics."""
LEAST_SEEDS = 8
"""Seeds on which one difference may even have the wrong sign, if it is the smallest, and p stay below 0.05."""


def findings_of(opened: OpenStudy, command: str) -> Findings:
    """The answer, the judged arms, and how to confirm; nothing of a launch that is asked to stop.

    Args:
        opened: The study, its table written.
        command: What the user typed to launch it, without what ends the options.
    """
    awaits = "leaving the statistics to the next launch"
    try:
        section = opened.stop.section(lambda: awaits, patience_s=0.0, limit_s=LIMIT_S)
        with announced(opened.console, "Working out the answer"), section:
            if opened.stop.requested:
                raise Interruption
            return _findings(opened, command)
    except (KeyboardInterrupt, Exception):  # the records hold everything, and the report says what is wrong with them
        return NOTHING_FOUND


def _findings(opened: OpenStudy, command: str) -> Findings:
    from orchestrator.report.answers import short_answers  # late: pyarrow and statsmodels take seconds to import
    from orchestrator.report.source import read_results
    from orchestrator.report.statistics.sign_flip import evidence

    results = read_results(opened.store)
    plans = {stage: plan for stage, plan in opened.stages.plans.items() if results.runs(stage)}
    return Findings(
        short_answers(results),
        {stage: _judged(results, stage) for stage in plans if stage in results.plans},
        {stage: evidence(len(plan.arms) - 1, len(plan.seeds)) for stage, plan in plans.items()},
        confirming(opened, command),
        _cost(opened),
    )


def _judged(results: "Results", stage: Stage) -> Mapping[str, Judged]:
    """The arms of a comparison beside its baseline, by the first objective."""
    from orchestrator.report.sections.comparison_results import StageResults, verdict  # late: as above

    differences = StageResults(results, results.plans[stage]).differences(results.objective_metrics[0])
    return {
        name: Judged(paired.low, paired.high, paired.p_adjusted, verdict(paired))
        for name, paired in differences.items()
        if paired.n
    }


def confirming(opened: OpenStudy, command: str) -> str | None:
    """The command that repeats the best trial and the references on seeds enough for p < 0.05; None where it cannot."""
    seeds = _seeds_to_confirm(opened)
    return None if seeds is None else with_setting(command, f"confirm={{top: 1, seeds: {seeds}}}")


def _cost(opened: OpenStudy) -> str:
    """`` (32 runs; one took 42 s on average here)``: by the epochs' own times; empty where they are not known."""
    seeds = _seeds_to_confirm(opened)
    trained = [record for record in opened.stages.known if record.planned.kind in ("search", "reference")]
    times = [[epoch.get(EPOCH_SECONDS) or 0.0 for epoch in r.epochs] for r in trained if r.state is State.COMPLETE]
    seconds = [sum(epochs) for epochs in times if all(epochs)]
    if seeds is None or not seconds:
        return ""
    runs = seeds * (1 + len(opened.study.spec.search.references))
    return f" ({runs} runs; one took {duration(fmean(seconds))} on average here)"


def _seeds_to_confirm(opened: OpenStudy) -> int | None:
    from orchestrator.report.statistics.sign_flip import seeds_needed  # late: scipy takes a second to import

    spec = opened.study.spec
    references = len(spec.search.references)
    if spec.confirm is not None or not spec.searched or not references:
        return None
    if not ranked(opened.stages.known, spec.objectives):
        return None
    return max(LEAST_SEEDS, seeds_needed(references))
