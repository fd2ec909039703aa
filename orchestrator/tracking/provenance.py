"""Where results come from: versions of what decides them, and the commit of this project."""

import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

VERSION = "version."
"""Begins the names of tags that tell versions."""
PACKAGES = ("dropclass-orchestrator", "torch", "segmentation-models-pytorch", "ray", "optuna", "mlflow")


def versions() -> dict[str, str]:
    """Versions of what decides results, and the git commit of this project where it is a checkout."""
    tags = {f"{VERSION}python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            tags[f"{VERSION}{name}"] = version(name)
    return {**tags, **_git()}


def _git() -> dict[str, str]:
    folder = Path(__file__).parent
    try:
        commit = _output("git", "-C", str(folder), "rev-parse", "HEAD")
        dirty = _output("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no", "--", "..")
    except (OSError, subprocess.SubprocessError):
        return {}  # installed, or git is not
    return {"mlflow.source.git.commit": commit, "git.commit": commit, "git.dirty": str(bool(dirty)).lower()}


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
