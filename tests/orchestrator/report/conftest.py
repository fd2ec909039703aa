from pathlib import Path

import pytest
from made_studies import Make, begin


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Begins a study in a folder of the test's own."""
    return lambda *overrides: begin(tmp_path, *overrides)
