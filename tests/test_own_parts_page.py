"""docs/own-parts.md: its files fit together, and it says what the code says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import trainable.parts
import trainable.testing
from orchestrator.studyfile import load
from trainable.parts.kinds import KINDS
from trainable.parts.source import LARGEST, MOST_FILES, VARIABLE

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "own-parts.md").read_text()


def test_the_mechanism_of_the_page_fits_its_study_and_passes_its_test(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    files = re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert [name for name, _ in files] == ["fade.py", "study.yaml", "test_fade.py"]
    for name, text in files:
        (tmp_path / name).write_text(text)
    assert len((tmp_path / "fade.py").read_text().splitlines()) <= 30
    study = load(tmp_path / "study.yaml", env={})
    assert [name for name, _, _ in study.space.domains()][-1] == "suppression.mechanism.Fade.strength"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-c", os.devnull, "-p", "no:cacheprovider", "test_fade.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_names_every_kind_contract_and_limit() -> None:
    for name in trainable.parts.__all__:
        assert name == "ClassFacts" or f"`{name}`" in PAGE
        assert getattr(trainable.parts, name).__name__ == name
    contracts = [name for name in trainable.testing.__all__ if name.endswith("Contract") and name != "Contract"]
    assert all(f"`{name}`" in PAGE for name in contracts)
    assert len(contracts) == len(KINDS)
    assert f"{MOST_FILES:,} files and {LARGEST // 2**20} MiB" in PAGE
    assert f"`{VARIABLE}`" in PAGE
