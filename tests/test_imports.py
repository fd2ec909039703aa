"""The dependency rules of CONTRIBUTING.md, as import-linter reads them from pyproject.toml."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_import_contracts_hold() -> None:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_room_without_a_purpose() -> None:
    nameless = {"utils", "util", "common", "helpers", "helper", "misc"}
    files = [path for folder in ("orchestrator", "trainable") for path in (ROOT / folder).rglob("*.py")]
    assert not [path for path in files if path.stem in nameless or path.parent.name in nameless]


def test_nothing_but_commands_and_roots_lies_loose() -> None:
    loose = {folder: {path.stem for path in (ROOT / folder).glob("*.py")} for folder in ("orchestrator", "trainable")}
    commands = {"__main__", "sweep", "status", "track", "predict_images", "compare_studies", "init"}
    assert loose["orchestrator"] == {"__init__", "errors", *commands}
    assert loose["trainable"] == {"__init__", "__main__", "config", "presets", "section", "failure", "program"}
