from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver.stop import Stop
from orchestrator.studyfile import Study, load

ROOT = Path(__file__).parents[2]

FILE = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes}
model: {arch: fpn, encoder: resnet18, encoder_weights: null}
train: {epochs: 4, batch_size: 20}
suppression:
  p_max: {uniform: [0.0, 1.0]}
  alpha: {log_uniform: [0.01, 10.0]}
  sampling:
    choice:
      - {name: uniform}
      - {name: inverse_frequency, tau: {uniform: [0.25, 2.0]}}
search: {sampler: random, trials: 6}
"""


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told of something that takes long would differ from machine to machine."""
    monkeypatch.setattr("orchestrator.terminal.console.SILENCE_S", 600.0)


@pytest.fixture(autouse=True)
def ended_stops(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stop that was asked for ends with its test: its thread would end the children of this process in a while."""
    asked: list[Stop] = []
    ask = Stop.ask

    def remember(stop: Stop, *arguments: Any) -> None:
        asked.append(stop)
        ask(stop, *arguments)

    monkeypatch.setattr(Stop, "ask", remember)
    yield
    for stop in asked:
        stop._over.set()


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Study]:
    """Loads a small study; arguments are ``--set`` options."""
    path = tmp_path / "s.yaml"
    path.write_text(FILE)
    return lambda *overrides: load(path, overrides, env={})


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: creating one takes seconds, copying it does not."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    from mlflow import MlflowClient  # late: most tests need no MLflow

    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(empty_mlflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)  # where MLflow keeps artifacts beside a database
    copy = tmp_path / "mlflow.db"
    copy.write_bytes(empty_mlflow.read_bytes())
    return f"sqlite:///{copy}"
