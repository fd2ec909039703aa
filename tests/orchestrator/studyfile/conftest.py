"""Builds study files of one line per key, so that tests know the line of everything."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.studyfile import ConfigError, Study, load

LINES = {
    "study": "s",
    "objective": "{metric: val/miou, mode: max}",
    "data": "{name: shapes}",
    "model": "{arch: fpn, encoder: resnet18}",
    "train": "{epochs: 12, batch_size: 8}",
    "suppression": "{p_max: {uniform: [0, 1]}}",
    "search": "{trials: 4}",
    "resources": "{cpu: 1}",
    "tracking": "{enabled: true}",
}
"""Line 1 is ``study``, line 9 ``tracking``."""

Write = Callable[..., Path]
Read = Callable[..., Study]
Complain = Callable[..., list[str]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a study file; each argument replaces the line of a key."""

    def write(**lines: str) -> Path:
        path = tmp_path / "x.yaml"
        path.write_text("".join(f"{key}: {value}\n" for key, value in (LINES | lines).items()))
        return path

    return write


@pytest.fixture
def read(write: Write) -> Read:
    """Loads such a file."""

    def read(*overrides: str, env: dict[str, str] | None = None, **lines: str) -> Study:
        return load(write(**lines), overrides, env or {})

    return read


@pytest.fixture
def complain(write: Write) -> Complain:
    """The lines of its mistakes, without the file's name: ``6 suppression.p_max: ...``."""

    def complain(*overrides: str, env: dict[str, str] | None = None, **lines: str) -> list[str]:
        path = write(**lines)
        with pytest.raises(ConfigError) as error:
            load(path, overrides, env or {})
        return str(error.value).replace(f"{path}:", "").splitlines()

    return complain
