"""Where results come from: versions of what decides them, and the commit of this project."""

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from orchestrator.store.checkout import checkout

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
    here = checkout()
    if here is None:
        return {}
    dirty = str(here.dirty).lower()
    return {"mlflow.source.git.commit": here.commit, "git.commit": here.commit, "git.dirty": dirty}
