"""An attempt at a trial of several ranks: kept and continued as one of a single process."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.plan.planner import Planner
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Planned
from orchestrator.studyfile import Study
from orchestrator.worker.attempt import Attempt
from orchestrator.worker.job import Job
from trainable.failure import TrialFailed
from trainable.team.processes import end_ranks

pytestmark = pytest.mark.integration  # ranks are processes

ENGINES = Path(__file__).parents[2] / "trainable/ranks"


@pytest.fixture(autouse=True)
def _engines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(ENGINES))
    monkeypatch.chdir(tmp_path)
    end_ranks()
    yield
    end_ranks()


@pytest.fixture
def store() -> Store:
    return Store("out", "s")


@pytest.fixture
def planned(study: Callable[..., Study], store: Store) -> Planned:
    planned = Planner(study("search.references=[]")).next()
    assert planned is not None
    store.plan(planned)
    return planned


def attempt(planned: Planned, store: Store, ranks: int, **changes: Any) -> Attempt:
    job = Job(planned, store.storage, store.study, "x", "fits_on_ranks:fit", ranks=ranks)
    return Attempt(replace(job, **changes))


def test_a_trial_goes_on_with_another_number_of_ranks(planned: Planned, store: Store) -> None:
    first = attempt(planned, store, 2)
    assert [first.next_epoch().metrics["val/miou"] for _ in range(2)] == [3, 6]
    first.close()
    claim = store.last_claim(planned.key)
    assert claim is not None
    assert (claim["ranks"], claim["gpus"], claim["pid"]) == (2, 0, os.getpid())
    second = attempt(planned, store, 3)
    done = [second.next_epoch() for _ in range(2)]
    assert [(each.epoch, each.metrics["val/miou"], each.metrics["world"]) for each in done] == [(3, 12, 3), (4, 18, 3)]
    second.close()


def test_a_rank_that_fails_is_the_trials_failure(
    planned: Planned, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIKE", "fail@1:2")
    failing = attempt(planned, store, 2)
    failing.next_epoch()
    with pytest.raises(TrialFailed, match="rank 1 of 2: epoch 2: the loss is nan"):
        failing.next_epoch()
    failing.close()


def test_a_worker_writes_down_why_it_ended(planned: Planned, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr("orchestrator.worker.attempt.end_process", ended.append)
    lost = attempt(planned, store, 2)
    lost._lose_rank("rank 1 of 2 died (killed by SIGKILL)")
    lost.close()
    assert ended == ["rank 1 of 2 died (killed by SIGKILL)"]
    assert "rank 1 of 2 died" in Path(f"out/s/trials/{planned.key}/log-1.txt").read_text()
