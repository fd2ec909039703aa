"""A cluster in which every trial has room, for tests without Ray."""

from collections.abc import Callable
from typing import Any

from orchestrator.driver.adapters import PlannedSearcher
from orchestrator.driver.budget import Budget
from orchestrator.driver.capacity import Demand
from orchestrator.driver.deadline import Deadline
from orchestrator.driver.ledger import Ledger
from orchestrator.driver.limits import Limits
from orchestrator.driver.session import Session
from orchestrator.driver.stop import Stop
from orchestrator.store.objects import Objects
from orchestrator.store.spending import Spent
from orchestrator.studyfile import BudgetSection


class AmpleCluster:
    """As much of a `ClusterWatch` as a searcher asks; ``slots`` limits it."""

    def __init__(self, slots: int = 10**6, *, grows: bool = False) -> None:
        self.slots, self.grows = slots, grows

    def has_room(self, live: list[Demand], another: Demand) -> bool:  # noqa: ARG002
        return len(live) < self.slots

    def may_grow_for(self, demand: Demand) -> bool:  # noqa: ARG002
        return self.grows


def searcher_of(
    session: Session,
    stop: Stop,
    job_of: Callable[..., Any] = lambda planned: planned,
    cluster: AmpleCluster | None = None,
    deadline: Deadline | None = None,
    limits: Limits | None = None,
    gpu: float = 0,
) -> PlannedSearcher:
    """The searcher of a session, with room for all."""
    ample: Any = cluster or AmpleCluster()
    return PlannedSearcher(session, job_of, Demand(1, gpu), ample, limits or unlimited(deadline), stop)


def unlimited(deadline: Deadline | None = None) -> Limits:
    """Limits without a budget; what is used is kept nowhere."""
    ledger = Ledger(Objects("/nowhere"), Spent())
    return Limits(deadline or Deadline(), Budget(BudgetSection(), ledger), ledger)
