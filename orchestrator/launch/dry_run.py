"""``--dry-run``: what a study would do, at what cost, and where it would write. Starts no Ray and writes nothing."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.driver.address import Address
from orchestrator.driver.budget import Pace
from orchestrator.driver.capacity import this_machine, trials_at_a_time
from orchestrator.errors import InputError
from orchestrator.launch.affordable import Wanted, bought, limit_lines, money
from orchestrator.launch.data_sets import check_data_unchanged
from orchestrator.launch.forecast import Forecast, forecasts
from orchestrator.launch.notice_command import NoticeCommand
from orchestrator.launch.one_launch import Target
from orchestrator.launch.preflight import check_models, fetch_weights, open_store
from orchestrator.launch.remaining import Remaining, remaining
from orchestrator.store import layout
from orchestrator.store.addresses import absolute, redacted, storage_errors
from orchestrator.store.lease import described, holder
from orchestrator.store.records import Store
from orchestrator.store.spending import HOUR_S, Spent, all_spent
from orchestrator.studyfile import Study
from orchestrator.terminal.console import open_console, say
from orchestrator.terminal.formats import duration
from orchestrator.tracking import tracking_uri
from orchestrator.tracking.address_check import check_tracking
from trainable.configfile.mistakes import printable
from trainable.configfile.trees import write_yaml

if TYPE_CHECKING:
    from orchestrator.launch.cost import Costs


WORKER_START_S = 15.0
"""What a new worker imports before its first step; later trials find it there."""


@dataclass
class Refusals:
    """Why a launch would be refused, in its own words; the rest of the dry run is told all the same."""

    everywhere: list[str] = field(default_factory=list)
    """The study cannot run as it is."""
    here: list[str] = field(default_factory=list)
    """This machine lacks what another one may have: studies of a cluster are looked at on laptops and login nodes."""

    @contextmanager
    def collected(self, *, here: bool = False) -> Iterator[None]:
        """Collect what would refuse the launch."""
        try:
            yield
        except InputError as refusal:
            (self.here if here else self.everywhere).append(str(refusal))


def dry_run(study: Study, *, storage: str, target: Target, command: str) -> int:
    """Print the resolved study, sampled configurations, the cost by a few probed steps, and the places.

    Args:
        study: The study.
        storage: Where studies lie, as the user gave it.
        target: Where and how trials would run.
        command: What the user types to launch it.

    Returns:
        The command's exit code; 0 also where this machine has no such GPU or cannot fetch pretrained weights.

    Raises:
        InputError: A launch would be refused on any machine: the model or the data cannot be used.
    """
    console, spec = open_console(), study.spec
    store = open_store(study, storage)
    check_models(study)
    say(console, write_yaml(study.resolved(), short=True).rstrip() + "\n")
    stages, refusals = forecasts(study, console), Refusals()
    with refusals.collected(here=True):
        fetch_weights(study)
    before = _before(study, store, storage, target, console, refusals)
    _say_cost(study, stages, before, store, target, console, refusals)
    written = f"{layout.TRIALS}/, {layout.TABLE}" + (f", {layout.BEST}" if spec.searched else "")
    say(console, f"writes      {absolute(storage)}/{spec.study}/ ({written})")
    if spec.tracking.enabled:
        experiment = spec.tracking.experiment or spec.study
        say(console, f"tracks      {redacted(tracking_uri(spec.tracking.uri))}, experiment {experiment}")
    notice = NoticeCommand(study)
    if notice.written is not None:
        say(console, f"notifies    {printable(notice.written)}, when a launch ends, fails or is stopped")
    with refusals.collected(here=True):
        notice.check()
    with refusals.collected():
        if (warning := check_tracking(study)) is not None:
            say(console, warning)
    for lacking in refusals.here:
        say(console, f"not here    {lacking}")
    say(console, "Nothing was started and nothing was written.")
    if refusals.everywhere:
        raise InputError("\n".join(refusals.everywhere))
    say(console, f"Run it {'where it is not refused, ' if refusals.here else ''}with:  {command}")
    return 0


def _before(
    study: Study, store: Store, storage: str, target: Target, console: Console, refusals: Refusals
) -> Remaining | None:
    """What earlier launches left, and whether they would let this one go on; None for a new study."""
    kept = store.read_study()
    if kept is None:
        return None
    with storage_errors(f"--storage {storage}: cannot be used"):
        if (other := holder(store.objects)) is not None:
            consequence = "a launch waits for its end" if target.wait else "a launch is refused with exit code 75"
            say(console, f"held        by another launch ({described(other)}): {consequence}")
        with refusals.collected():
            check_data_unchanged(study, kept.data)
        with refusals.collected():
            return remaining(study, storage, partial(say, console), retry_failed=target.retry_failed)
    return None


def _say_cost(
    study: Study,
    stages: Sequence[Forecast],
    before: Remaining | None,
    store: Store,
    target: Target,
    console: Console,
    refusals: Refusals,
) -> None:
    """Tell what is left to run and how long it takes."""
    from orchestrator.launch.cost import START_UP_S, measure  # late: torch takes seconds to import

    left = _left(stages, before, console)
    trials = [config for stage in stages if left[stage.stage] for _, configs in stage.groups for config in configs]
    if not trials:
        return
    costs = measure(study, trials, weights_here=not refusals.here)
    for line in costs.lines():
        say(console, line)
    if (ranks := study.spec.resources.trial_ranks) > 1:
        threads = study.spec.resources.threads
        where = "one on each GPU" if study.spec.resources.gpu else f"{threads} thread{'s' * (threads != 1)} each"
        say(console, f"ranks       {ranks} per trial, {where}; steps were probed on one, and the estimate is of one")
    if study.spec.resources.gpu == "auto":
        say(console, f"memory      {costs.together}")
    seconds = sum(costs.seconds(stage) * left[stage.stage] / stage.runs for stage in stages if stage.runs)
    saved = sum(stage.saved * left[stage.stage] / stage.runs for stage in stages if stage.runs)
    seconds -= saved * costs.mean_epoch_seconds
    if before is not None:
        seconds -= before.epochs * costs.mean_epoch_seconds
    slots, where = 1, "one after the other"
    with refusals.collected(here=True):
        slots, where = _slots(study, target, costs.gpus(study.spec.resources))
    _say_budget(study, [stage for stage in stages if left[stage.stage]], left, costs, slots, store, console)
    total = costs.cache_seconds + START_UP_S + max(0.0, seconds) / slots
    line = f"{duration(total)} for {sum(left.values())} trials {where}, start-up included, early stopping aside"
    say(console, f"estimate    {line}{costs.remark}")


def _say_budget(
    study: Study,
    stages: Sequence[Forecast],
    left: Mapping[str, int],
    costs: "Costs",
    slots: int,
    store: Store,
    console: Console,
) -> None:
    """Tell what the budget buys, trials begun earlier counted as if they began anew."""
    section, now = study.spec.budget, time.time()
    if not section.limits_anything:
        return
    spent = all_spent(store.objects)
    for line in limit_lines(section, spent, now):
        say(console, f"budget      {line}")
    wanted = [_wanted(stage, left[stage.stage], costs, Pace.of(spent)) for stage in stages]
    gpus = costs.gpus(study.spec.resources)
    paid = bought(section, spent, wanted, gpus=gpus, slots=slots, now=now, start_s=WORKER_START_S)
    hours = sum(one.runs * one.wanted.seconds for one in paid) * gpus / HOUR_S
    use = f": {hours:.3g} GPU-hours{money(section, Spent(gpu_seconds={'': hours * HOUR_S}))}" if hours else ""
    say(console, f"buys        {', then '.join(map(str, paid))}{use}")


def _wanted(stage: Forecast, left: int, costs: "Costs", pace: Pace | None) -> Wanted:
    """What is left of a stage; at the pace of earlier launches where there were any, else at the probed one."""
    seconds = costs.seconds(stage) / stage.runs if pace is None else pace.seconds * stage.mean_epochs
    return Wanted(stage.stage, left, seconds, stage.block, (stage.runs - left) // stage.block)


def _left(stages: Sequence[Forecast], before: Remaining | None, console: Console) -> dict[str, int]:
    """Runs that are left of each stage; said where some have ended."""
    if before is None:
        return {stage.stage: stage.runs for stage in stages}
    left = {stage.stage: before.left(stage.stage, stage.runs) for stage in stages}
    runs = ", ".join(f"{left[stage.stage]} of {stage.runs} runs of the {stage.stage}" for stage in stages)
    say(console, f"left        {runs}" if before.waiting else "left        nothing: the study is finished")
    return left


def _slots(study: Study, target: Target, gpus: float) -> tuple[int, str]:
    """How many trials of so many GPUs run at a time, and where; of a cluster that is known at the launch."""
    resources = study.spec.resources
    if target.max_concurrent is not None:
        resources = resources.model_copy(update={"max_concurrent": target.max_concurrent})
    if Address.of(target.address) is not None:
        return 1, "one after the other; how many a cluster runs at a time is known at the launch"
    machine = this_machine()
    trials_at_a_time([machine], resources)  # in the study's words where it has no such GPU
    slots = trials_at_a_time([machine], resources.model_copy(update={"gpu": gpus}))
    return slots, f"on {slots} slots of this machine"
