"""Where MLflow shows a study, as its directory knows it; ``tracking.destination`` writes it."""

from contextlib import suppress

from orchestrator.store import layout
from orchestrator.store.objects import DamagedError, Objects


def page_of(objects: Objects) -> str | None:
    """Address of the study's page; None where no launch has told MLflow of it, or the note is damaged."""
    with suppress(DamagedError):
        note = objects.read_json(layout.TRACKING)
        page = note.get("page") if isinstance(note, dict) else None
        return page if isinstance(page, str) else None
    return None
