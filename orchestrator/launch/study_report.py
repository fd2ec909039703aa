"""The report at the end of a launch, drawn by a process of its own; a stop leaves it to the next launch."""

import subprocess
from dataclasses import dataclass

from orchestrator.driver.stop import Interruption, Stop
from orchestrator.errors import one_line
from orchestrator.store import layout
from orchestrator.store.commands import of_study
from orchestrator.store.records import Store
from trainable.program import start_module

MODULE = "orchestrator.report.report_process"


@dataclass
class StudyReport:
    """A study's report, which may still be drawn."""

    store: Store
    stop: Stop
    """Interrupts the drawing, and tells the user."""
    page: str | None = None
    """Where it lies, if it is up to date."""
    process: "subprocess.Popen[str] | None" = None
    """What draws it."""

    def join(self) -> str | None:
        """Wait until it is written; returns where its page lies."""
        if self.process is None:
            return self.page
        try:
            with self.stop.section(lambda: "leaving the report to the next launch", patience_s=0.0, limit_s=20.0):
                if self.stop.requested and self.process.poll() is None:
                    raise Interruption
                said = self.process.communicate()[0].strip().splitlines()
        except KeyboardInterrupt:
            self.stop.say("The report is left to the next launch.")
            return None
        finally:
            self.end()
        if self.process.returncode == 0:
            return said[-1]
        self.fails(said[-1] if said else f"its process ended with {self.process.returncode}")
        return None

    def fails(self, reason: str) -> None:
        """Tell the user why there is none: the study has ended all the same."""
        command = of_study("orchestrator.report", self.store.study, self.store.storage)
        self.stop.say(f"No report: {reason}; try  {command}")

    def end(self) -> None:
        """End what draws it, where that is still at work: the next launch draws it."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def drop_outdated_pages(store: Store) -> None:
    """Delete the pages that a table of other content makes outdated: without one, the next launch writes the report."""
    for name in _pages(store):
        store.objects.delete(name)


def bring_report_up_to_date(store: Store, stop: Stop, *, whole: bool, changed: bool) -> StudyReport:
    """Begin to write the report of a finished study where it is outdated.

    Args:
        store: The study's directory, its table written.
        stop: Interrupts the writing, and tells the user.
        whole: Whether everything ran that could; else the report waits.
        changed: Whether trials ran, or the study file differs from the one of the launch before.
    """
    report = StudyReport(store, stop)
    pages = _pages(store)
    if not whole or (pages and not changed):
        report.page = store.path(pages[0]) if pages and not changed else None
        return report
    drop_outdated_pages(store)
    if stop.requested:
        stop.say("The report is left to the next launch.")
        return report
    try:
        report.process = start_module(
            MODULE, store.storage, store.study, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, text=True
        )
    except OSError as error:
        report.fails(one_line(error))
    return report


def _pages(store: Store) -> list[str]:
    return [name for name in store.objects.files(layout.REPORT) if name.endswith(".html")]
