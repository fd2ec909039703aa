"""The wheel: what is in it, and that it works where no checkout is."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = "from setuptools.build_meta import build_wheel; build_wheel('..')"
SMALL = ("train.batch_size=2", "data.train_images=40", "data.val_images=8", "search.trials=1", "search.references=[]")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the files that git would take."""
    source = tmp_path_factory.mktemp("source")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    names = listed.stdout.splitlines() if listed.returncode == 0 else []
    if not names:
        pytest.skip("no checkout of git")
    for name in names:
        if os.path.lexists(ROOT / name):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name, follow_symlinks=False)
    done = subprocess.run([sys.executable, "-c", BUILD], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = source.parent.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of an environment with the wheel, and this one's packages without the checkout."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=False, symlinks=True)
    (packages,) = place.glob("lib/python*/site-packages")
    # folders that a .pth file names are searched, but their own .pth files, an editable install's among them, not read
    (packages / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python"), "install"]
    options = ["-q", "--no-deps", "--no-index", "--ignore-installed"]  # an editable one is no reason to install none
    subprocess.run([*pip, *options, str(wheel)], check=True, capture_output=True)
    return place / "bin"


def program(installed: Path, folder: Path, *words: str) -> str:
    """What ``dropclass`` prints; its environment is active, and no variable leads to the checkout."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment["PATH"] = f"{installed}:/usr/bin:/bin"
    command = [str(installed / "dropclass"), *words]
    options = {"cwd": folder, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(command, **options, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_packages_and_their_data_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
    info = next(name.partition("/")[0] for name in names if ".dist-info/" in name)
    assert {name.partition("/")[0] for name in names} == {"orchestrator", "trainable", info}
    assert f"{info}/licenses/LICENSE" in names
    for room in ("orchestrator", "trainable"):
        assert {path.relative_to(ROOT).as_posix() for path in (ROOT / room).rglob("*.py")} <= names
    data = {f"orchestrator/study_files/{path.name}" for path in (ROOT / "search_spaces").iterdir()}
    for folder in ("orchestrator/report/pages/templates", "orchestrator/submit/templates"):
        data |= {f"{folder}/{path.name}" for path in (ROOT / folder).iterdir()}
    data |= {path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/py.typed")}
    assert {name for name in names if not name.endswith(".py") and "dist-info" not in name} == data


def test_it_runs_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    from orchestrator import __version__

    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)  # somebody's own repository
    assert program(installed, tmp_path, "--version") == f"dropclass-orchestrator {__version__}\n"
    assert "\n  dropclass sweep shapes.yaml\n" in program(installed, tmp_path, "init", "shapes")
    small = [word for setting in SMALL for word in ("--set", setting)]
    dry = program(installed, tmp_path, "sweep", "shapes.yaml", "--dry-run", *small)
    assert dry.splitlines()[-1].startswith("Run it with:  dropclass sweep shapes.yaml --set ")
    assert program(installed, tmp_path, "schema") == (ROOT / "search_spaces" / "schema.json").read_text()
    script = program(installed, tmp_path, "submit", "slurm", "shapes.yaml", "--dry-run")
    assert (ROOT / "deploy" / "slurm" / "sweep.sbatch").read_text() in script
    assert sorted(path.name for path in tmp_path.iterdir()) == [".git", "schema.json", "shapes.yaml"]
