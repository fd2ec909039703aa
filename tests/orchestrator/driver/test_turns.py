"""While trials run the threads of the driver take short turns: Ray Tune's loop does not wait for the tracker's work."""

import sys
from contextlib import nullcontext
from typing import Any

import pytest
from fake_watch import AmpleCluster, unlimited

from orchestrator.driver import tuner
from orchestrator.driver.session import Session
from orchestrator.driver.stop import Stop
from orchestrator.plan.planner import Planner
from orchestrator.store.records import Store


@pytest.mark.parametrize("error", [None, ValueError("Tune failed")], ids=["ends", "fails"])
def test_turns_are_short_while_trials_run_and_usual_afterwards(
    study: Any, tmp_path: object, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    during: list[float] = []

    def fit(*_: object) -> None:
        during.append(sys.getswitchinterval())
        if error:
            raise error

    monkeypatch.setattr(tuner, "_fit", fit)
    monkeypatch.setattr(tuner.tune, "Tuner", lambda *_, **__: None)
    asked = study("search.trials=1", "search.references=[]")
    store = Store(f"{tmp_path}/out", "s")
    cluster: Any = AmpleCluster()
    cluster.is_own = False
    usual = sys.getswitchinterval()
    with pytest.raises(ValueError, match="Tune failed") if error else nullcontext():
        tuner.run(
            Session(Planner(asked), store, []),
            store,
            resources=asked.spec.resources,
            watch=cluster,
            limits=unlimited(),
            fit="fake_fit:fit",
            probe="",
            system_metrics=False,
            stop=Stop("again", lambda _: None),
        )
    assert during == [pytest.approx(tuner.TURN_S)]
    assert sys.getswitchinterval() == usual
