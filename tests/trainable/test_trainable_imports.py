import subprocess
import sys

import pytest

TORCH_FREE = [
    "trainable", "trainable.section", "trainable.config", "trainable.failure", "trainable.presets",
    "trainable.__main__",
    "trainable.configfile", "trainable.configfile.document", "trainable.configfile.messages",
    "trainable.configfile.overrides", "trainable.configfile.environment",
    "trainable.data", "trainable.data.config", "trainable.data.classes", "trainable.data.layout",
    "trainable.evaluate.metrics", "trainable.evaluate.metrics.names",
    "trainable.model", "trainable.model.config", "trainable.model.encoders",
    "trainable.optim", "trainable.optim.config",
    "trainable.suppression", "trainable.suppression.config", "trainable.suppression.schedule",
]  # fmt: skip


ON_THE_DRIVER = [
    "trainable.data.cache", "trainable.data.decoder", "trainable.data.describe", "trainable.data.fingerprint",
    "trainable.data.pictures", "trainable.data.splits", "trainable.data.statistics",
]  # fmt: skip


def _loaded_after(modules: list[str]) -> set[str]:
    code = f"import sys, importlib; [importlib.import_module(m) for m in {modules!r}]; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_validation_modules_import_no_torch() -> None:
    assert not _loaded_after(TORCH_FREE) & {"torch", "torchvision", "timm", "numpy"}


def test_the_driver_caches_and_draws_without_torch() -> None:
    assert not _loaded_after(ON_THE_DRIVER) & {"torch", "torchvision", "pandas"}


@pytest.mark.parametrize("module", ["trainable.train.engine", "trainable.train.probe"])
def test_the_engine_knows_no_runner(module: str) -> None:
    assert not _loaded_after([module]) & {"ray", "optuna", "mlflow", "pandas", "orchestrator"}
