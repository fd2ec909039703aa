"""The ranks that ``python -m trainable`` is asked for, by its options or by ``torchrun``. Imports torch late."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainable.config import TrialConfig
from trainable.configfile.mistakes import ConfigError, Mistake, printable
from trainable.configfile.node import Node, Place
from trainable.data.config import ShapesData
from trainable.ranks.division import Shares

if TYPE_CHECKING:
    from trainable.train.engine import EpochResult

OF_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables that ``torchrun`` sets for each of its processes."""


@dataclass(frozen=True)
class Ranks:
    """Processes that train one trial."""

    count: int
    option: str
    """What asked for them, as it was written; for messages."""
    device: str | None = None
    own_gpus: bool = False
    """Whether each needs a GPU of its own."""
    launched: int | None = None
    """This process's rank where ``torchrun`` started all of them; None where they are this process's own."""

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all."""
        return self.launched in (None, 0)

    def check_batch(self, config: TrialConfig, root: Node) -> None:
        """Refuse a batch that the ranks cannot share.

        Raises:
            ConfigError: ``train.batch_size`` is no multiple of the ranks and of ``train.accumulate``.
        """
        images = config.data.train_images if isinstance(config.data, ShapesData) else None
        problem = Shares(self.count, self.option).problem(config.train.batch_size, config.train.accumulate, images)
        if problem is not None:
            raise ConfigError(problem.mistakes(root))

    def check_gpus(self) -> None:
        """Refuse more GPUs than this machine has.

        Raises:
            ConfigError: it has fewer.
        """
        import torch

        if self.device == "cuda" and not self.own_gpus and not torch.cuda.is_available():
            raise _refusal("--device cuda", "this machine has no GPU; --device cpu trains on the CPU")
        gpus = torch.cuda.device_count() if self.own_gpus else self.count
        if gpus < self.count:
            raise _refusal(self.option, f"this machine has {gpus or 'no'} GPU{'s' * (gpus > 1)}")

    def results(self, config: TrialConfig, threads: int | None) -> Iterator["EpochResult"]:
        """The epochs of a trial on these ranks, as `trainable.train.engine.fit` gives them.

        Raises:
            DataError, ModelError, TrialFailed: as ``fit`` raises them.
        """
        from trainable.team.processes import fit_on_ranks
        from trainable.train.engine import fit

        if self.count > 1 and threads is None and self.launched is None:
            threads = max(1, len(os.sched_getaffinity(0)) // self.count)
        if self.launched is not None:
            yield from self._launched_results(config, threads)
        elif self.count > 1:
            with closing(fit_on_ranks(config, self.count, device=self.device, threads=threads)) as results:
                yield from results
        else:
            yield from fit(config, device=self.device, threads=threads)

    def _launched_results(self, config: TrialConfig, threads: int | None) -> Iterator["EpochResult"]:
        """This rank's epochs in the group of ``torchrun``, which ends all its processes when one fails."""
        from torch.distributed.rendezvous import rendezvous

        from trainable.team.forming import form_group, leave_group, placement
        from trainable.team.processes import TIMEOUT_S
        from trainable.train.engine import fit

        assert self.launched is not None
        place = placement(self.launched, self.count, self.device)
        store, _, _ = next(rendezvous("env://", self.launched, self.count))
        form_group(store, self.launched, self.count, place, TIMEOUT_S)
        try:
            yield from fit(config, device=place.device, threads=threads)
        finally:
            leave_group()


def requested_ranks(
    gpus: int | None, ranks: int | None, device: str | None, environment: Mapping[str, str] = os.environ
) -> Ranks:
    """What the options and the environment ask for; without either, one rank.

    Raises:
        ConfigError: they contradict each other, or ask for several nodes.
    """
    if gpus is not None and device == "cpu":
        raise _refusal(f"--gpus {gpus}", "contradicts --device cpu; leave one out")
    if _is_launched(environment):
        return _launched_ranks(gpus or ranks, device, environment)
    if gpus is not None:
        return Ranks(gpus, f"--gpus {gpus}", "cuda", own_gpus=True)
    return Ranks(ranks or 1, f"--ranks {ranks or 1}", device)


def speaks(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process tells what is wrong with the input: of those that ``torchrun`` started the first alone."""
    return not (_is_launched(environment) and re.fullmatch("0*[1-9][0-9]*", environment["RANK"]))


def _is_launched(environment: Mapping[str, str]) -> bool:
    return all(name in environment for name in OF_TORCHRUN)


def _launched_ranks(given: int | None, device: str | None, environment: Mapping[str, str]) -> Ranks:
    rank, count, here = (_whole(environment, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    _whole(environment, "MASTER_PORT")  # torch reads it later
    if not rank < count:
        raise _refusal("RANK", f"must be below WORLD_SIZE ({count}), got {rank}; torchrun sets both")
    option = f"torchrun with {count} ranks"
    if given is not None:
        raise _refusal(option, "its processes are the ranks; leave --gpus and --ranks out")
    if here != count:
        raise _refusal(option, f"{here} of them are on this node, and a trial trains on one; leave --nnodes out")
    return Ranks(count, option, device, launched=rank)


def _whole(environment: Mapping[str, str], name: str) -> int:
    if not re.fullmatch("[0-9]{1,6}", text := environment[name]):
        raise _refusal(name, f"must be a whole number, as torchrun sets it, got '{printable(text[:20])}'")
    return int(text)


def _refusal(option: str, message: str) -> ConfigError:
    return ConfigError([Mistake(Place(option), "", message)])
