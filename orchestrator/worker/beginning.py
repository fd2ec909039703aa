"""What a trial begins with: the epochs of a prefix that it shares with others, where there is one."""

from orchestrator.store.artifacts import keep_artifacts, read_picture
from orchestrator.store.layout import FIRST_PICTURE, TrialFiles
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Checkpoint, Planned
from orchestrator.studyfile.space.trees import content
from trainable.config import read_trial


def inherited_state(store: Store, planned: Planned) -> Checkpoint | None:
    """The checkpoint of a trial's prefix that it begins from, the picture of the first epoch taken over.

    None where the trial has no prefix, or that has no good checkpoint there, which the store's warnings then say: the
    trial trains these epochs itself, with the same outcome.
    """
    if planned.prefix is None:
        return None
    for name in store.checkpoints(planned.prefix):
        checkpoint = store.read_checkpoint(planned.prefix, name) if name.epoch == planned.inherited else None
        if checkpoint is not None and _is_beginning(checkpoint, planned):
            picture = read_picture(store.objects, planned.prefix, FIRST_PICTURE)
            keep_artifacts(store.objects, planned.key, {FIRST_PICTURE: picture} if picture else {}, None)
            return checkpoint
    address = store.path(TrialFiles(planned.prefix).folder)
    store.warnings.append(f"{address}: no good checkpoint of epoch {planned.inherited}; {planned.key} trains it itself")
    return None


def _is_beginning(checkpoint: Checkpoint, planned: Planned) -> bool:
    """Whether a checkpoint is what the trial itself would have come to."""
    prefix, own = read_trial(checkpoint.planned.config), read_trial(planned.config)
    alike = content(prefix) == content(own.plain()) and prefix.seed == own.seed
    return alike and len(checkpoint.epochs) == planned.inherited <= own.plain_epochs
