"""A study whose lease this launch holds, and what earlier launches left of it."""

from dataclasses import dataclass, replace
from functools import partial

from rich.console import Console

from orchestrator.driver.stop import Stop
from orchestrator.launch.history import import_trials, read_history
from orchestrator.launch.stages import Stages
from orchestrator.store.records import Store
from orchestrator.studyfile import Study
from orchestrator.terminal.console import say


@dataclass(frozen=True)
class OpenStudy:
    """A study whose lease this launch holds."""

    study: Study
    store: Store
    stages: Stages
    console: Console
    stop: Stop


def open_history(study: Study, store: Store, console: Console, stop: Stop, *, retry_failed: bool) -> OpenStudy:
    """Read what earlier launches and other studies left; damaged files are named before anything starts."""
    history = read_history(study, store, retry_failed=retry_failed)
    imported, notes = import_trials(study, store, (*history.records, *history.outside))
    for line in (*history.notes, *notes, *(f"warning: {warning}" for warning in store.warnings)):
        say(console, line)
    store.warnings.clear()
    history = replace(history, records=(*imported, *history.records))
    return OpenStudy(study, store, Stages(study, store, history, partial(say, console)), console, stop)
