"""Says where MLflow shows the study as soon as that is known: a study can be watched while it runs."""

import threading
from collections.abc import Callable
from contextlib import suppress

from orchestrator.store.records import Store
from orchestrator.tracking import TrackerApart, where_runs_are
from orchestrator.tracking.destination import note_tracking

POLL_S = 0.5


class PageNotice:
    """Waits in a thread for MLflow's answer; says the page once, and keeps it for whoever asks the directory.

    Args:
        store: The study's directory.
        tracker: Told of the study's runs; None where nothing is.
        known: The page as an earlier launch knew it.
        say: Shows the user a line.
    """

    def __init__(
        self, store: Store, tracker: TrackerApart | None, known: str | None, say: Callable[[str], None]
    ) -> None:
        self._store, self._tracker, self._say = store, tracker, say
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._wait, args=(known,), name="page", daemon=True)
        if tracker is not None:
            say(f"runs    {where_runs_are(tracker.uri)}")
            if known:
                say(f"page    {known}")
            self._thread.start()

    def close(self) -> None:
        """Say nothing any more; what is known at the end is noted by others."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(POLL_S)

    def _wait(self, known: str | None) -> None:
        assert self._tracker is not None
        while not self._over.wait(POLL_S):
            page = self._tracker.page
            if page is None:
                continue
            if page != known:
                self._say(f"page    {page}")
            with suppress(OSError):  # whoever asks is told by the end of the launch
                note_tracking(self._store, self._tracker.uri, complete=False, page=page)
            return
