"""The report at the end of a launch, which a stop leaves to the next one."""

from orchestrator.driver.stop import Interruption, Stop
from orchestrator.errors import one_line
from orchestrator.store import layout
from orchestrator.store.commands import of_study
from orchestrator.store.records import Store


def bring_report_up_to_date(store: Store, stop: Stop, *, whole: bool, changed: bool) -> str | None:
    """Write the report of a finished study where it is outdated; returns where its page lies.

    Args:
        store: The study's directory.
        stop: Interrupts the writing, and tells the user.
        whole: Whether everything ran that could; else the report waits.
        changed: Whether trials ran, or the study file differs from the one of the launch before.
    """
    pages = [name for name in store.objects.files(layout.REPORT) if name.endswith(".html")]
    if not whole or (pages and not changed):
        return store.path(pages[0]) if pages and not changed else None
    try:
        for name in pages:  # without one, the next launch writes the report
            store.objects.delete(name)
        return _write(store, stop)
    except KeyboardInterrupt:
        stop.say("The report is left to the next launch.")
    except Exception as error:  # whatever goes wrong with it, the study has ended
        reason = one_line(error) or type(error).__name__
        command = of_study("orchestrator.report", store.study, store.storage)
        stop.say(f"No report: {reason}; try  {command}")
    return None


def _write(store: Store, stop: Stop) -> str:
    with stop.section(lambda: "leaving the report to the next launch", patience_s=0.0, limit_s=20.0):
        if stop.requested:
            raise Interruption
        from orchestrator.report.build import write_report  # late: matplotlib and statsmodels take seconds to import

        return write_report(store)[0]
