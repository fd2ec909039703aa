"""Commands of README and docs on a study that ran are run as they stand: on the demo, in a small size."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from documents import PAGES, ROOT, Command, commands
from PIL import Image

SMALL = ["data.train_images=20", "data.val_images=8", "train.batch_size=4", "train.epochs=1", "search.trials=1"]
STUDIES = {"shapes", "shapes-2"}
ENDLESS_OR_ELSEWHERE = ("--watch", "http://", "runs:/", "mlflow", "deploy/", "search_spaces/")


def runs_on_a_study(command: Command) -> bool:
    """Whether all that a command needs is a study that ran, or a configuration in it."""
    line = " ".join(command.words)
    ours = command.words[0] == "dropclass" or command.words[:2] == ("python", "-m")
    named = STUDIES & set(command.words) or "studies/shapes/best.yaml" in line
    return bool(ours and named) and not any(part in line for part in ENDLESS_OR_ELSEWHERE) and "submit" not in line


COMMANDS = sorted(
    {command.words: command for page in PAGES for command in commands(page) if runs_on_a_study(command)}.values(),
    key=str,
)


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """As typed in a folder whose environment is active."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    drop = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")
    kept = {name: value for name, value in os.environ.items() if name not in drop}
    environment = {**kept, "PATH": path, "PYTHONPATH": str(ROOT)}
    call = [sys.executable, "-m", "orchestrator", *words[1:]] if words[0] == "dropclass" else words
    return subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=240)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo ran, small, and once more under another name; with two photos."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "search_spaces").symlink_to(ROOT / "search_spaces")
    for study in sorted(STUDIES):
        overrides = [part for each in [*SMALL, f"study={study}"] for part in ("--set", each)]
        done = run(["python", "-m", "orchestrator.sweep", "search_spaces/shapes.yaml", *overrides], folder)
        assert done.returncode == 0, done.stdout + done.stderr
    (folder / "photos").mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"photos/{number}.png")
    return folder


def test_the_documents_have_such_commands() -> None:
    lines = [" ".join(command.words) for command in COMMANDS]
    assert "python -m orchestrator.status shapes" in lines
    assert "python -m trainable studies/shapes/best.yaml --export model.pt" in lines


@pytest.mark.integration
@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_on_a_study_runs_as_it_stands(command: Command, place: Path) -> None:
    done = run(list(command.words), place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
