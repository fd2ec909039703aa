"""What a launch writes down of itself for reports: when, by which command and versions, on how many images."""

import os
import platform
import re
import time
from collections.abc import Mapping

from orchestrator.launch.foreseen import foreseen
from orchestrator.launch.open_study import OpenStudy
from orchestrator.store.addresses import redacted
from orchestrator.store.commands import PYTHON, interpreter
from orchestrator.store.data_fingerprints import section_key
from orchestrator.store.launches import Launch, note_launch
from orchestrator.studyfile import Study
from orchestrator.tracking import tracking_uri, where_runs_are
from orchestrator.tracking.provenance import versions
from trainable.configfile.environment import SHORTEST_SECRET
from trainable.data.counts import frame_count
from trainable.data.layout import SPLITS

_VERSION = "version."
_NAME = re.compile(r"\$\{([^}]*)\}")


def keep_launch(opened: OpenStudy) -> None:
    """Note this launch in the study's directory.

    Raises:
        DataError: files of a data set are gone; ``OSError``: the storage cannot be used.
    """
    study, tags = opened.study, versions()
    tracking = study.spec.tracking
    launch = Launch(
        began=round(time.time(), 3),
        command=shown_command(opened.stop.command, study.from_env),
        host=platform.node(),
        versions={n.removeprefix(_VERSION): text for n, text in tags.items() if n.startswith(_VERSION)},
        commit=tags.get("git.commit", ""),
        dirty=tags.get("git.dirty") == "true",
        runs=shown_command(where_runs_are(tracking_uri(tracking.uri)), study.from_env) if tracking.enabled else "",
        images=_images(study),
    )
    note_launch(opened.store.objects, launch)


def shown_command(command: str, from_env: Mapping[str, str]) -> str:
    """The command for another machine: any Python, and what environment variables hold by their names."""
    names = {match for text in from_env.values() for match in _NAME.findall(text)}
    values = {value: f"${{{name}}}" for name in names if len(value := os.environ.get(name, "")) >= SHORTEST_SECRET}
    text = PYTHON + command.removeprefix(interpreter()) if command.startswith(interpreter()) else command
    for value in sorted(values, key=len, reverse=True):  # one may hold another
        text = text.replace(value, values[value])
    return redacted(text)


def _images(study: Study) -> dict[str, dict[str, int]]:
    """Frames by split, of each data set by its section."""
    return {section_key(data): {split: frame_count(data, split) for split in SPLITS} for data in foreseen(study).data}
