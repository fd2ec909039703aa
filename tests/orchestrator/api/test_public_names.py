"""``import orchestrator``: cheap, and the same whichever module was imported before."""

import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator

ROOT = Path(__file__).parents[3]
HEAVY = ("torch", "ray", "mlflow", "pandas", "numpy", "pydantic", "optuna", "rich")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = python(f"import sys, orchestrator; print([name for name in {HEAVY} if name in sys.modules])")
    assert loaded.strip() == "[]"


def test_loading_a_study_needs_neither_torch_nor_ray_nor_mlflow() -> None:
    names = ("torch", "ray", "mlflow")
    loaded = python(f"import sys; from orchestrator import load_study; print([n for n in {names} if n in sys.modules])")
    assert loaded.strip() == "[]"


def test_no_module_of_the_package_takes_the_place_of_a_public_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(orchestrator.__path__)}
    assert not modules & set(orchestrator.__all__)


def test_they_show_their_own_signature_and_documentation() -> None:
    from orchestrator.api import comparing, predicting, running

    for shown, function in (
        (orchestrator.run, running.run),
        (orchestrator.predict, predicting.predict),
        (orchestrator.compare, comparing.compare),
    ):
        assert inspect.signature(shown) == inspect.signature(function)
        assert inspect.getdoc(shown) == inspect.getdoc(function)


def test_every_public_name_is_there_and_has_words_of_its_own() -> None:
    for name in orchestrator.__all__:
        assert inspect.getdoc(getattr(orchestrator, name)), name
    assert set(orchestrator.__all__) <= set(dir(orchestrator))
    with pytest.raises(AttributeError, match=r"no attribute 'load_studdy'; it has .*load_study"):
        _ = orchestrator.load_studdy  # type: ignore[attr-defined]
