from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.studyfile import Study, load


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Study]:
    """Writes and loads the study of a text; further arguments are ``--set`` options."""

    def make(text: str, *overrides: str) -> Study:
        path = tmp_path / "s.yaml"
        path.write_text(text)
        return load(path, overrides, env={})

    return make
