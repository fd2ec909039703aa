"""A study that was launched, as a Python object: trials, frames, statistics, report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from orchestrator.api.arguments import names, path_text
from orchestrator.api.reading import ReadStudy, read_directory, usable
from orchestrator.api.trial import Trial
from orchestrator.errors import InputError
from orchestrator.store.kept_study import KeptStudy
from orchestrator.store.masking import shown_config
from orchestrator.store.ranking import undominated
from orchestrator.store.records import Store
from orchestrator.store.stage_plan import Stage, StagePlan
from orchestrator.store.trial_record import State
from orchestrator.studyfile import Objective, TrackingSection, objectives_of
from trainable.configfile.mistakes import unknown
from trainable.configfile.node import JsonObject

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.report.source import Results


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """A study as its directory told it when it was loaded; `load_study` reads it anew.

    Not to be confused with ``orchestrator.studyfile.Study``, the content of a study *file*. Nothing here writes to the
    directory but `report`. Settings that came from ``${NAME}`` show the name, never the value.
    """

    name: str
    address: str
    """Its directory; no secret is in it."""
    objectives: tuple[Objective, ...]
    """What it optimises; it decides by the first."""
    records: tuple[Trial, ...] = field(repr=False)
    """Its trials: references, search, imported trials, runs of comparisons."""
    running: bool
    """Whether a launch was at work when it was loaded."""
    warnings: tuple[str, ...] = field(repr=False)
    """Damaged files that were met, a line each."""
    exit_code: int | None
    """Of the launch that `orchestrator.run` made: 0 all trials ended well, 3 some failed or something kept the launch
    from its end, 75 its time is over; None for a study that was only loaded."""
    _store: Store = field(repr=False)
    _kept: KeptStudy = field(repr=False)
    _results: "Results" = field(repr=False)

    def __repr__(self) -> str:
        counts = Counter(str(trial.state) for trial in self.records)
        states = ", ".join(f"{count} {state}" for state, count in counts.items())
        return f"<Study {self.name}: {states or 'no trials yet'}; {self.address}>"

    @property
    def specification(self) -> JsonObject:
        """The study file with its defaults filled in, domains as written."""
        return shown_config(self._kept.specification, self._kept.from_env)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics that its trials have."""
        return self._results.metrics

    @property
    def failed(self) -> tuple[Trial, ...]:
        """Trials that failed by themselves, each with its reason; ``run(..., retry_failed=True)`` runs them again."""
        return tuple(trial for trial in self.records if trial.state is State.FAILED)

    @property
    def unfinished(self) -> tuple[Trial, ...]:
        """Trials that have begun and not ended; the same launch again goes on with them."""
        return tuple(trial for trial in self.records if not trial.state.final)

    @cached_property
    def best(self) -> Trial | None:
        """The best complete trial of the search, by the first objective's last epoch; None where none is complete.

        The winner of a search was picked for its score: `answer` says whether it is evidence.
        """
        ranked = self._ranked(self.objectives[:1])
        return ranked[0] if ranked else None

    @cached_property
    def front(self) -> tuple[Trial, ...]:
        """The Pareto front of the search over all objectives, best first by the first one."""
        return tuple(self._ranked(self.objectives))

    @property
    def plans(self) -> Mapping[Stage, StagePlan]:
        """What its comparisons (``confirm``, ``ablation``) compare, written before their first runs."""
        return MappingProxyType(dict(self._results.plans))

    @cached_property
    def answer(self) -> str:
        """What the study says about its question and whether that is evidence: a sentence a line."""
        from orchestrator.report.answers import short_answers  # late: statsmodels takes a second

        return "\n".join(short_answers(self._results))

    @property
    def page(self) -> str | None:
        """Address of its view in MLflow, as the last launch knew it; None where it is not tracked."""
        from orchestrator.tracking.destination import noted_page

        with usable(self.address):
            return noted_page(self._store, TrackingSection.model_validate(self._kept.specification["tracking"]))

    def trial(self, key: str) -> Trial:
        """The trial of a key.

        Raises:
            InputError: There is none.
        """
        trials = {trial.key: trial for trial in self.records}
        if not isinstance(key, str) or key not in trials:
            raise InputError(f"{self.address}: {unknown(str(key), list(trials), 'trial')}")
        return trials[key]

    def frame(self, *, all_settings: bool = False) -> "pd.DataFrame":
        """A row per trial, its key as index.

        Columns: kind, arm, block, seed, state, reason, epochs; ``pick.<domain>``; ``param.<path>`` of the settings in
        which trials differ (``all_settings``: of all); the last epoch's metrics by their names; behind each objective
        the best epoch's value, whose column is called biased, as it was chosen for being good.
        """
        from orchestrator.api.frames import trial_frame  # late: pandas takes half a second

        return trial_frame(self.records, self.objectives, all_settings=all_settings)

    to_pandas = frame

    def epochs(self) -> "pd.DataFrame":
        """A row per trial and epoch: trial, kind, arm, block, seed, epoch (from 1), metrics by their names."""
        from orchestrator.api.frames import epoch_frame

        return epoch_frame(self.records)

    def differences(self, *metrics: str) -> "pd.DataFrame":
        """Paired differences of each comparison: every arm against the baseline, over pairs of equal seed.

        ``p_nominal`` is the exact sign-flip test alone, **not adjusted** for how many arms are compared;
        ``p_adjusted`` is (Holm, over the arms of a stage and metric), and ``verdict`` goes by it at 0.05.

        Args:
            *metrics: Names; none: the objectives. Those that are no objective are exploratory, as column ``role`` says.

        Raises:
            InputError: A metric that the study does not have.
        """
        from orchestrator.api.frames import difference_frame

        for metric in metrics:
            self.check_metric(metric)
        return difference_frame(self._results, metrics or tuple(o.metric for o in self.objectives))

    def check_metric(self, metric: str) -> None:
        """Refuse a metric that no trial has; raises InputError."""
        if metric not in self.metrics:
            raise InputError(f"{self.name}: {unknown(str(metric), self.metrics, 'metric')}")

    def report(self, out: str | Path | None = None, *, metrics: Sequence[str] | str | None = None) -> str:
        """Write the report anew; returns the address of its page.

        Args:
            out: Local folder to write to; None writes to ``report/`` in the study's directory.
            metrics: Metrics to compare beside the objectives, or one; None: the usual ones.

        Raises:
            InputError: No launch has written the table yet, an unknown metric, or the folder cannot be used.
        """
        from orchestrator.report.build import write_report

        chosen = names(metrics, "metrics")
        for metric in chosen:
            self.check_metric(metric)
        folder = None if out is None else path_text(out, "out")
        with usable(folder or self.address):
            return write_report(self._store, metrics=chosen or None, out=folder)[0]

    def _ranked(self, objectives: Sequence[Objective]) -> list[Trial]:
        candidates = [t for t in self.records if t.complete and t.kind in ("search", "imported")]
        candidates = [t for t in candidates if all(t._record.has(one.metric) for one in objectives)]
        signs = [1 if objective.mode == "max" else -1 for objective in objectives]
        metrics = [objective.metric for objective in objectives]
        return undominated(
            candidates, lambda t: [sign * t.metrics[name] for sign, name in zip(signs, metrics, strict=True)]
        )

    def _repr_html_(self) -> str:
        from orchestrator.api.study_page import study_html

        return study_html(self)


def read_study(store: Store, kept: KeptStudy, *, exit_code: int | None = None) -> Study:
    """The study of a directory; raises InputError as `load_study`."""
    read: ReadStudy = read_directory(store, kept)
    return Study(
        name=store.study,
        address=store.address,
        objectives=objectives_of(kept.specification),
        records=read.trials,
        running=read.running,
        warnings=read.warnings,
        exit_code=exit_code,
        _store=store,
        _kept=kept,
        _results=read.results,
    )
