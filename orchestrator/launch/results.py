"""What a launch writes of a study's trials in the end: the table, the best configuration, the report."""

from collections.abc import Sequence
from functools import partial

from orchestrator.launch.history import fitted
from orchestrator.launch.open_study import OpenStudy
from orchestrator.launch.study_report import StudyReport, bring_report_up_to_date, drop_outdated_pages
from orchestrator.store.masking import from_env_of, shown, stage_of
from orchestrator.store.results_table import write_best, write_table
from orchestrator.store.trial_record import Record
from orchestrator.tracking import tracking_uri, where_runs_are

Places = dict[str, str | None]  # where what a launch leaves is to be seen; None: nowhere


def written_results(
    opened: OpenStudy, records: Sequence[Record], *, whole: bool, changed: bool
) -> tuple[Places, StudyReport]:
    """Write tables and best configuration, and begin to write the report.

    Args:
        opened: The study.
        records: Its trials.
        whole: Whether everything ran that could.
        changed: Whether trials ran, or the study file differs from the one of the launch before.

    Returns:
        Where each of them lies, and the report, which is written meanwhile.

    Raises:
        OSError: They cannot be written.
    """
    store, spec, champion = opened.store, opened.study.spec, opened.stages.champion()
    objective, resources = spec.objectives[0], spec.resources
    several = {"--gpus" if resources.gpu else "--ranks": resources.trial_ranks} if resources.trial_ranks > 1 else {}
    of_table = [shown_record(opened, record) for record in fitted(opened.study, records)]
    table = write_table(store, of_table, partial(drop_outdated_pages, store) if whole else lambda: None)
    best = write_best(store, champion, spec.study, objective, resources.threads, several) if champion else None
    runs = where_runs_are(tracking_uri(spec.tracking.uri)) if spec.tracking.enabled else None
    report = bring_report_up_to_date(store, opened.stop, whole=whole, changed=changed)
    return {"study": store.address, "table": table, "best": best, "runs": runs}, report


def shown_record(opened: OpenStudy, record: Record) -> Record:
    """A trial as a table, a log or a message may show it."""
    planned, from_env = record.planned, opened.study.from_env
    plan = next((plan for plan in opened.stages.plans.values() if plan.stage == stage_of(planned)), None)
    return shown(record, from_env_of(planned, from_env, plan))
