"""The network of a trial, from the checkpoints that its study keeps. Imports torch late."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record
from trainable.config import TrialConfig, read_trial

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class TrainedNetwork:
    """A network as its trial left it after an epoch."""

    network: "nn.Module"
    """On the CPU; a ``Segmenter``, or a plain one that was folded."""
    config: TrialConfig
    """The trial; its model section fetches nothing, as all weights are there."""
    epoch: int
    classes: int


def trained_network(store: Store, record: Record) -> TrainedNetwork | None:
    """The network after the latest epoch whose checkpoint is good; None where none is kept.

    Raises:
        OSError: the storage cannot be used.
        ModelError: the network can no longer be built.
    """
    from torch import random

    from trainable.model.build import build_model  # late: smp takes seconds to import
    from trainable.train.checkpoint import from_bytes

    for name in store.checkpoints(record.key):
        checkpoint = store.read_checkpoint(record.key, name)
        if checkpoint is None:
            continue
        config, epoch = read_trial(checkpoint.planned.config), len(checkpoint.epochs)
        weights = from_bytes(checkpoint.state)["model"]
        suppression = None if epoch <= config.plain_epochs else config.suppression
        section = config.model.model_copy(update={"encoder_weights": None, "weights": None})
        classes = len(weights["classifier.weight"])
        with random.fork_rng(devices=[]):
            network = build_model(section, classes, suppression)
        network.load_state_dict(weights)
        return TrainedNetwork(network, config, epoch, classes)
    return None
