"""What may end a launch before its trials do: the time at which its machines are taken away, and the study's budget."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from orchestrator.driver.budget import Budget
from orchestrator.driver.deadline import Deadline
from orchestrator.driver.ledger import Ledger
from orchestrator.driver.stop import Stop
from orchestrator.store.records import Store
from orchestrator.store.spending import all_spent
from orchestrator.studyfile import BudgetSection


@dataclass(frozen=True)
class Limits:
    """Of one launch."""

    deadline: Deadline
    budget: Budget
    ledger: Ledger

    @classmethod
    def of(cls, section: BudgetSection, store: Store, until: float) -> Self:
        """The limits of a launch that ends ``until``, in seconds since 1970, after what earlier launches used.

        Raises:
            OSError: the storage cannot be used.
        """
        ledger = Ledger(store.objects, all_spent(store.objects, store.warnings))
        return cls(Deadline(until), Budget(section, ledger), ledger)

    @contextmanager
    def watched(self, stop: Stop, grace_s: float) -> Iterator[None]:
        """Count what is used, and ask to stop where a limit is reached."""
        stop.lastly(self.ledger.write)
        with self.ledger, self.budget.watched(stop), self.deadline.asking(stop, grace_s):
            yield
