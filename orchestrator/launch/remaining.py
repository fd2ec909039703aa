"""What is left of a study that was launched before, found out without writing anything."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from pydantic import JsonValue

from orchestrator.launch.history import import_trials, read_history
from orchestrator.launch.stages import Stages
from orchestrator.store.layout import CheckpointName
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Planned, Record
from orchestrator.studyfile import Study

STAGES = ("search", "confirm", "ablation")


@dataclass(frozen=True)
class Remaining:
    """How far earlier launches came."""

    ended: Mapping[str, int]
    """Runs of each stage that count and have ended."""
    waiting: str | None
    """The stage that goes on; None where nothing is left."""
    epochs: int
    """Epochs of trials that have not ended."""
    spared: Mapping[str, int] = field(default_factory=dict)
    """Runs of each stage that will not run, as looks have stopped their arms."""

    def left(self, stage: str, planned: int) -> int:
        """Runs of a stage that are still to end."""
        if self.waiting is None or STAGES.index(stage) < STAGES.index(self.waiting):
            return 0
        return max(0, planned - self.ended[stage] - self.spared.get(stage, 0))


class UnwrittenStore(Store):
    """A study's directory that stays as it is."""

    def judge(self, record: Record, system_attrs: Mapping[str, JsonValue]) -> None:
        """Write nothing."""

    def plan(self, planned: Planned) -> None:
        """Write nothing."""

    def drop_checkpoints(self, key: str, keep: Iterable[CheckpointName] = ()) -> None:
        """Remove nothing."""


def remaining(study: Study, storage: str, say: Callable[[str], None], *, retry_failed: bool) -> Remaining:
    """What is left of a study, its notes said as a launch says them.

    Raises:
        InputError: the study has changed in what cannot change; another study that it names is not there.
    """
    store = UnwrittenStore(storage, study.spec.study)
    history = read_history(study, store, retry_failed=retry_failed)
    imported, notes = import_trials(study, store, (*history.records, *history.outside))
    for line in (*history.notes, *notes, *(f"warning: {warning}" for warning in store.warnings)):
        say(line)
    stages = Stages(study, store, replace(history, records=(*imported, *history.records)), say)
    following = stages.next()
    kinds = {"search": ("search", "reference"), "confirm": ("confirm",), "ablation": ("ablation",)}
    known = stages.known
    ended = {s: sum(r.state.final and r.planned.kind in kinds[s] for r in known) for s in STAGES}
    epochs = sum(len(record.epochs) for record in known if not record.state.final)
    return Remaining(ended, following.stage if following else None, epochs, stages.spared)
