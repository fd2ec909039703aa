"""Shared prefixes: runs of one seed that differ in nothing before their suppression starts train these epochs once.

A prefix is a trial of its own, the plain one, which ends at the largest start of its heirs and keeps a checkpoint at
each. An heir begins with the prefix's epochs, from the state after them. A plain run with the same settings is an heir
too: it continues the prefix as a trial that was interrupted.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.plan.planner import dump, trial_seed
from orchestrator.store.trial_record import Planned
from orchestrator.studyfile import ResourcesSection, Study
from orchestrator.studyfile.space.ramps import written_starts
from orchestrator.studyfile.space.trees import content
from trainable.config import TrialConfig, read_trial
from trainable.suppression.config import SuppressionConfig


@dataclass(frozen=True)
class Prefix:
    """The epochs that some runs share."""

    planned: Planned
    """The trial that trains them; its ``starts`` are the heirs' own."""
    heirs: Mapping[str, int]
    """Keys of the runs, and how many epochs each takes over."""

    @property
    def saved(self) -> int:
        """Epochs that the runs need not train, less those that the prefix trains."""
        return sum(self.heirs.values()) - self.planned.epochs


def shared_prefixes(runs: Sequence[Planned], resources: ResourcesSection) -> dict[str, Prefix]:
    """The prefixes, by key, that at least two of the runs share; in the order of the runs."""
    configs = {run.key: read_trial(run.config) for run in runs}
    by_key: dict[str, list[Planned]] = defaultdict(list)
    for run in runs:
        if (key := prefix_key(configs[run.key], resources)) is not None:
            by_key[key].append(run)
    prefixes: dict[str, Prefix] = {}
    for key, members in by_key.items():
        starts = {configs[run.key].plain_epochs for run in members if configs[run.key].suppression} - {0}
        heirs = {run.key: epochs for run in members if (epochs := inherited(configs[run.key], starts))}
        if len(heirs) > 1:
            first = next(run for run in members if run.key in heirs)
            planned = _planned(key, len(prefixes), configs[first.key], starts)
            prefixes[key] = Prefix(replace(planned, arm=first.arm, block=first.block), heirs)
    return prefixes


def prefix_key(config: TrialConfig, resources: ResourcesSection) -> str | None:
    """Name of the prefix that a trial may begin with, equal for trials that may share it; None where there is none.

    A network that is compiled but for its encoder rounds otherwise than one that is compiled whole; threads and ranks
    decide the last bits of the weights.
    """
    suppression = config.suppression
    if suppression and any(layer not in ("input", "decoder") for layer in suppression.layers) and config.train.compile:
        return None
    machine = {"threads": resources.threads, "ranks": resources.trial_ranks, "gpu": resources.most_gpus > 0}
    identity = {"content": content(config.plain()), "seed": config.seed, **machine}
    return f"prefix-{hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]}"


def inherited(config: TrialConfig, starts: Iterable[int]) -> int:
    """Epochs that a trial takes over from a prefix with checkpoints at these; 0 where it trains all itself."""
    if config.suppression is None:
        return max(starts, default=0)
    return config.plain_epochs if config.plain_epochs in set(starts) else 0


def search_prefixes(study: Study, numbers: Sequence[int]) -> dict[str, Prefix]:
    """The prefixes that trials of the search with these numbers share; heirs are not known before they are picked.

    They share some where seeds are shared, all that acts before the start is fixed, and the start fixed or a choice.
    """
    seeds, space, resources = study.spec.search.seeds, study.space, study.spec.resources
    shares = written_starts(space.tree) or ()
    starts = {SuppressionConfig(start=share).plain_epochs(space.max_epochs()) for share in shares} - {0}
    early = (name.partition(".")[0] == "suppression" for name, _, _ in space.domains())
    if seeds is None or not starts or not all(early):
        return {}
    config = space.trial(space.center(), 0)
    prefixes: dict[str, Prefix] = {}
    for seed in dict.fromkeys(trial_seed(study.spec.search, number) for number in numbers):
        seeded = config.model_copy(update={"seed": seed})
        sharing = [number for number in numbers if trial_seed(study.spec.search, number) == seed]
        if len(sharing) > 1 and (key := prefix_key(seeded.plain(), resources)) is not None:
            prefixes[key] = Prefix(_planned(key, len(prefixes), seeded, starts), {})
    return prefixes


def _planned(key: str, number: int, config: TrialConfig, starts: Iterable[int]) -> Planned:
    return Planned(key, "prefix", number, dump(config.plain()), None, starts=tuple(sorted(starts)))
