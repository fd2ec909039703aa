"""How many epochs runs took over from prefixes, instead of training them."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.store.trial_record import Record


@dataclass(frozen=True)
class SharedEpochs:
    """What sharing came to."""

    prefixes: int
    """Prefixes with an heir."""
    trained: int
    """Epochs that they trained."""
    heirs: int
    """Runs that began with one."""
    inherited: int
    """Epochs that these took over."""

    @property
    def saved(self) -> int:
        """Epochs that nobody trained."""
        return self.inherited - self.trained

    def line(self) -> str:
        """All of it in words; empty where nothing was shared."""
        if not self.heirs:
            return ""
        shared = f"the {self.trained} epochs of {self.prefixes} shared prefix{'es' * (self.prefixes != 1)}"
        return f"{self.heirs} runs began with {shared}, {self.inherited} with each its own: {self.saved} epochs saved"


def shared_epochs(records: Iterable[Record]) -> SharedEpochs:
    """What sharing came to among these trials."""
    known = {record.key: record for record in records}
    heirs = [record for record in known.values() if record.planned.prefix in known and record.epochs]
    prefixes = {str(record.planned.prefix) for record in heirs}
    trained = sum(len(known[key].epochs) for key in prefixes)
    return SharedEpochs(len(prefixes), trained, len(heirs), sum(record.planned.inherited for record in heirs))
