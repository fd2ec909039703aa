"""A study as it may leave its directory: its trials with masked settings, and when their epochs ended."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

from pydantic import ValidationError

from orchestrator.errors import InputError
from orchestrator.store.kept_study import KeptStudy
from orchestrator.store.layout import ATTEMPT, TrialFiles, numbers
from orchestrator.store.masking import from_env_of, shown, shown_plan, stage_of
from orchestrator.store.objects import DamagedError
from orchestrator.store.records import Store
from orchestrator.store.stage_plan import STAGES, Stage, StagePlan
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Choice, Domain, Objective, SearchSpace, Value, objectives_of, stored_space
from trainable.config import read_trial
from trainable.configfile.node import JsonObject
from trainable.evaluate.metrics.names import EPOCH_SECONDS, SETUP_SECONDS


@dataclass(frozen=True)
class ShownTrial:
    """A trial as it may be shown."""

    record: Record
    start: float
    """When its first attempt began, in seconds since 1970."""
    ends: tuple[float, ...]
    """When each epoch ended, had nothing come between: pauses between launches are not kept."""

    @property
    def key(self) -> str:
        """The trial's key."""
        return self.record.key

    @property
    def kind(self) -> str:
        """The trial's kind."""
        return self.record.planned.kind

    @property
    def end(self) -> float:
        """When the last epoch ended; of a trial without any, when it began."""
        return self.ends[-1] if self.ends else self.start

    def finite(self, metric: str) -> dict[int, float]:
        """The values of a metric by epoch, from 1."""
        values = ((epoch, metrics.get(metric)) for epoch, metrics in enumerate(self.record.epochs, start=1))
        return {epoch: value for epoch, value in values if value is not None and math.isfinite(value)}


@dataclass(frozen=True)
class ShownStudy:
    """A study as it may be shown."""

    name: str
    id: str
    """Given at its first launch."""
    objectives: tuple[Objective, ...]
    space: SearchSpace
    """What the search may pick; ranges whose bounds name environment variables are none of its domains."""
    plans: Mapping[Stage, StagePlan]
    trials: tuple[ShownTrial, ...]
    """All but prefixes, which are parts of others."""
    warnings: tuple[str, ...]
    written_roots: Mapping[str, str]
    """``data.root`` as the study writes it, by the name of the data set."""

    @cached_property
    def domains(self) -> dict[str, Domain]:
        """The domains of the space by name."""
        return {name: domain for name, domain, _ in self.space.domains()}

    def of(self, *kinds: str) -> list[ShownTrial]:
        """The trials of some kinds, in the order of their numbers."""
        return [trial for trial in self.trials if trial.kind in kinds]

    def plan_of(self, kind: str) -> StagePlan | None:
        """The plan of the comparison that trials of a kind are runs of."""
        return _plan_of(kind, self.plans)

    def has_values(self, trial: ShownTrial) -> bool:
        """Whether a trial is complete and can be compared."""
        return trial.record.state is State.COMPLETE and all(trial.record.has(o.metric) for o in self.objectives)

    def picks(self, trial: ShownTrial) -> dict[str, Value] | None:
        """What a trial picked, by domain; None where it lies outside the space as the study has it now."""
        picks, used = trial.record.planned.picks or {}, dict[str, Value]()

        def pick(name: str, domain: Domain) -> Value:  # noqa: ARG001
            used[name] = picks[name]
            return picks[name]

        try:
            self.space.resolve(pick)
        except (KeyError, ValueError):
            return None
        return used if self._unchanged(trial) else None

    def _unchanged(self, trial: ShownTrial) -> bool:
        """Whether the settings that are not searched are the study's; true where masked ones leave that open."""
        config = dict(trial.record.planned.config)
        data = config["data"]
        if isinstance(data, dict) and (root := self.written_roots.get(str(data["name"]))) is not None:
            config["data"] = {**data, "root": root}
        try:
            return self.space.locate(read_trial(config)) is not None
        except (ValidationError, ValueError, OSError, KeyError):
            return True


def read_study(store: Store, kept: KeptStudy) -> ShownStudy:
    """A study as it may be shown.

    Raises:
        InputError: one of its files is damaged.
        OSError: the storage cannot be used.
    """
    try:
        plans = {stage: plan for stage in STAGES if (plan := StagePlan.read(store.objects, stage)) is not None}
    except DamagedError as error:
        raise InputError(f"{error}; the same launch again writes it anew") from error
    records = [record for record in store.records() if record.planned.kind != "prefix"]
    space = stored_space(kept.specification)
    masked = [
        _with_literals(r, shown(r, from_env_of(r.planned, kept.from_env, _plan_of(stage_of(r.planned), plans))), space)
        for r in records
    ]
    return ShownStudy(
        name=store.study,
        id=kept.id,
        objectives=tuple(objectives_of(kept.specification)),
        space=space,
        plans={stage: shown_plan(plan, kept.from_env) for stage, plan in plans.items()},
        trials=tuple(_timed(record, store) for record in masked),
        warnings=tuple(store.warnings),
        written_roots=_written_roots(kept.specification),
    )


def _with_literals(record: Record, masked: Record, space: SearchSpace) -> Record:
    """The masked record with the options that the study file writes out: a choice of which one is masked hides all."""
    picks = record.planned.picks
    if not picks or not masked.planned.picks or picks == masked.planned.picks:
        return masked
    options = {name: domain.labels for name, domain, _ in space.domains() if isinstance(domain, Choice)}
    pairs = zip(picks.values(), masked.planned.picks.items(), strict=True)
    shown_picks = {name: pick if pick in options.get(name, ()) else text for pick, (name, text) in pairs}
    return replace(masked, planned=replace(masked.planned, picks=shown_picks))


def _plan_of(kind: str, plans: Mapping[Stage, StagePlan]) -> StagePlan | None:
    return next((plan for stage, plan in plans.items() if stage == kind), None)


def _timed(record: Record, store: Store) -> ShownTrial:
    """A trial with times, from when it began and how long each epoch took."""
    seconds = [metrics.get(EPOCH_SECONDS, 0.0) for metrics in record.epochs]
    setup = record.epochs[0].get(SETUP_SECONDS, 0.0) if record.epochs else 0.0
    start = _began(store, record.key)
    if start is None:  # no worker of this study ran it: it ended when its last file was written
        start = (store.last_write(record.key) or 0.0) - setup - sum(seconds)
    return ShownTrial(record, start, tuple(accumulate(seconds, initial=start + setup))[1:])


def _began(store: Store, key: str) -> float | None:
    """When the first worker of a trial wrote down that it begins; a copy of the study's folder keeps that."""
    files = TrialFiles(key)
    attempts = numbers(ATTEMPT, store.objects.names(files.folder))
    with suppress(DamagedError):
        claim = store.objects.read_json(files.attempt(attempts[-1])) if attempts else None
        time = claim.get("time") if isinstance(claim, dict) else None
        return float(time) if isinstance(time, int | float) else None
    return None


def _written_roots(specification: JsonObject) -> dict[str, str]:
    data = specification.get("data")
    options = data.get("choice") if isinstance(data, dict) else None
    sections: Sequence[object] = options if isinstance(options, list) else [data]
    named = [section for section in sections if isinstance(section, dict)]
    return {str(s.get("name")): root for s in named if isinstance(root := s.get("root"), str)}
