"""What MLflow is told of a study, from its directory. Imports no mlflow."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import InputError
from orchestrator.store import layout
from orchestrator.store.addresses import redacted
from orchestrator.store.data_fingerprints import data_fingerprint
from orchestrator.store.flat_config import flatten, short
from orchestrator.store.kept_study import KeptStudy
from orchestrator.store.masking import from_env_of, shown, shown_best, shown_config, shown_plan, shown_text, stage_of
from orchestrator.store.objects import DamagedError
from orchestrator.store.ranking import best
from orchestrator.store.records import Store
from orchestrator.store.short_picks import FIRST
from orchestrator.store.stage_plan import STAGES, Stage, StagePlan
from orchestrator.store.trial_record import Planned, Record
from orchestrator.studyfile import Objective, TrackingSection, objectives_of
from orchestrator.tracking.model_writer import ModelWriter
from orchestrator.tracking.provenance import versions
from orchestrator.tracking.searched import Searched, compared, searched
from trainable.configfile.mistakes import ConfigError
from trainable.configfile.node import Scalar
from trainable.configfile.trees import write_yaml
from trainable.data.errors import DataError
from trainable.evaluate.metrics.names import BEST, BEST_EPOCH, FINAL

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from orchestrator.tracking.links import Links


@dataclass(frozen=True)
class DataSource:
    """The data of a trial, as MLflow shows data sets."""

    name: str
    digest: str
    """Fingerprint of the files."""
    source: str
    """Where the files lie, as the study file writes it."""
    settings: Mapping[str, Scalar]
    """The data section but for the place."""


class StudyInfo:
    """A study as its runs show it; ``draw_data`` draws its data into a folder, None where they are not at hand."""

    def __init__(self, store: Store, kept: KeptStudy, draw_data: Callable[[Path], None] | None = None) -> None:
        tree = kept.specification
        self._store, self._kept, self.draw_data = store, kept, draw_data
        self._tracking = TrackingSection.model_validate(tree["tracking"])
        self._plans: dict[str, StagePlan | None] = {}
        self._writer = ModelWriter()
        self.study_id = kept.id
        self.name = str(tree["study"])
        self.experiment = self._tracking.experiment or self.name
        """Name of the experiment."""
        self.objectives = objectives_of(tree)
        """What is optimised."""
        self.objective = self.objectives[0]
        """What trials are compared by: the first of several."""
        self.settings = shown_config(tree, kept.from_env)
        """Parameters of the parent run: the study as written."""
        self.searched = tuple(sorted(searched(tree), key=_place))
        """Parameters of runs that the search picks: those that a reader asks for first, then as in the file."""
        self.factors = compared(tree)
        """Parameters of runs that the factors of an ablation change."""
        self.columns = tuple(dict.fromkeys(setting.path for setting in (*self.searched, *self.factors)))
        """Their names."""
        search = tree.get("search")
        self.has_search = isinstance(search, dict)
        trials = search.get("trials") if isinstance(search, dict) else None
        self.search_trials = trials if isinstance(trials, int) else 0
        """Trials that the search will have, references and imported ones aside; 0 where the file says none."""

    def shown(self, record: Record) -> Record:
        """A trial as its run may show it."""
        return shown(record, self._from_env(record.planned))

    def note(self, record: Record, rival: Record | None) -> str:
        """Description of a trial's run; the rival is what it is compared with."""
        from orchestrator.tracking.trial_note import trial_note  # late, as all that writes text

        return trial_note(self.shown(record), self.objectives, rival, self._levels(record.planned))

    def baseline(self, planned: Planned) -> str | None:
        """Name of the arm that a run of a comparison is compared with."""
        plan = self._arms(planned)
        return plan.baseline if plan else None

    def begun(self, links: "Links") -> str:
        """Description of the parent run before there are results."""
        from orchestrator.tracking.study_note import begun_note

        return begun_note(self.settings, self.objectives, links)

    def described(self, links: "Links") -> str:
        """Description of the parent run as the study's table tells it."""
        from orchestrator.report.source import read_results
        from orchestrator.tracking.study_note import study_note

        try:
            results = read_results(self._store)
        except InputError:  # no table yet, or a damaged one: the launch that needs it says so
            return self.begun(links)
        return study_note(results, links)

    def _levels(self, planned: Planned) -> Mapping[str, object] | None:
        """What a trial's arm sets, as it may be shown."""
        plan = self._arms(planned)
        plan = shown_plan(plan, self._kept.from_env) if plan else None
        return next((dict(arm.levels) for arm in plan.arms if arm.name == planned.arm), None) if plan else None

    def _arms(self, planned: Planned) -> StagePlan | None:
        """The plan that a trial's arm is of; read once, and again where a path has found further arms."""
        if planned.kind not in STAGES:
            return None
        plan = self._plans.get(planned.kind)
        if plan is None or all(arm.name != planned.arm for arm in plan.arms):
            plan = self._plans[planned.kind] = self._plan(planned.kind)
        return plan

    def former_name(self, record: Record) -> str:
        """What earlier versions called a trial's run: the key and what was picked."""
        planned = record.planned
        picks = (f"{name.rsplit('.', 1)[-1]}={short(value)}" for name, value in (planned.picks or {}).items())
        name = " ".join([planned.key, *picks]) if planned.kind == "search" else planned.key
        return shown_text(name, planned.config, self._from_env(planned))

    def data(self, record: Record) -> DataSource:
        """The data of a trial: the digest is of the data themselves, the settings are as written."""
        settings = flatten(self.shown(record).planned.data)
        source = str(settings.pop("root", "made in memory"))
        try:
            digest = data_fingerprint(record.planned.config, self._kept.data)
        except DataError:  # of an imported trial; its files were never here
            digest = ""
        return DataSource(str(record.planned.data["name"]), digest, source, settings)

    def tags(self) -> Mapping[str, str]:
        """Tags of every run: versions, git commit, code of parts of one's own."""
        return versions() | {f"part.{name}": sha256[:12] for name, sha256 in self._kept.parts.items()}

    def trial_tags(self, key: str) -> Mapping[str, str]:
        """Tags of a trial that its latest worker wrote down: host, GPU, ranks."""
        claim = self._store.last_claim(key) or {}
        return {name: str(claim[name]) for name in ("host", "gpu", "ranks") if claim.get(name)}

    def plan_hash(self, kind: str) -> str | None:
        """Hash of what the stage whose runs are of this kind planned; None where that is no comparison."""
        plan = self._plan(kind)
        return plan.hash if plan else None

    def compares(self, stage: Stage) -> bool:
        """Whether the study has this stage."""
        return self._kept.specification.get(stage) is not None

    def stage_runs(self, stage: Stage) -> int:
        """Runs that a stage has planned; 0 while it has not."""
        plan = self._plan(stage)
        return len(plan.arms) * len(plan.seeds) if plan else 0

    def _plan(self, kind: str) -> StagePlan | None:
        try:
            return StagePlan.read(self._store.objects, kind) if kind in STAGES else None
        except (DamagedError, InputError):  # the launch that needs it says so
            return None

    def _from_env(self, planned: Planned) -> Mapping[str, str]:
        """What names environment variables in a trial."""
        from_env = self._kept.from_env
        return from_env_of(planned, from_env, self._plan(stage_of(planned))) if from_env else from_env

    def write_trial(self, record: Record, folder: Path) -> None:
        """Write what is to be seen of an ended trial into a folder."""
        from orchestrator.tracking.trial_files import write_trial_files  # late: matplotlib takes half a second

        write_trial_files(record, self._store, folder, self._from_env(record.planned))

    def write_study(self, folder: Path) -> None:
        """Write the study file, its results and its report into a folder."""
        text = redacted(write_yaml(self._kept.specification))
        (folder / "study.yaml").write_text(text)
        for name in (layout.BEST, layout.TABLE, *self._store.objects.files(layout.REPORT)):
            content = self._store.objects.read(name)
            if content is None:
                continue
            if name == layout.BEST:
                content = self._shown_best(content.decode(errors="replace")).encode()
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    def _shown_best(self, text: str) -> str:
        """``best.yaml`` as it may be shown; YAML may write a value otherwise than it is, so the tree is masked."""
        try:
            return shown_best(text, self._kept.from_env)
        except ConfigError as error:
            where = self._store.path(layout.BEST)
            raise InputError(f"{where}: no configuration; the same launch again writes it anew") from error

    def expect_model(self, record: Record | None) -> None:
        """Start what writes the best trial's network, where there is one to keep: its imports take seconds."""
        with suppress(OSError):  # `log_model` tells it
            if self._tracking.model and record is not None and self._store.checkpoints(record.key):
                self._writer.start()

    def log_model(self, client: "MlflowClient", run_ids: Mapping[str, str]) -> None:
        """Keep the best trial's network with its run, where the study asks for it; takes the id of each trial's run."""
        record = best(self._store.records(), self.objective) if self._tracking.model else None
        if record is not None and record.key in run_ids:
            from orchestrator.tracking.model import log_best_model

            log_best_model(
                client, run_ids[record.key], self._store, record,
                register=self._tracking.register_as, writer=self._writer,
            )  # fmt: skip

    def close(self) -> None:
        """End what was started: nothing more is to be told."""
        self._writer.close()


def end_values(record: Record, objective: Objective) -> dict[str, float]:
    """The objective's value of the last epoch, of the best one (biased) and which that is, by names of metrics.

    Empty where no epoch has a value. The names put their charts behind those of the metrics themselves.
    """
    last, best, metric = record.last(objective.metric), record.best_epoch(objective), objective.metric
    if best is None:
        return {}
    values = {f"{metric}{BEST}": best.value, f"{metric}{BEST_EPOCH}": float(best.epoch)}
    return values if last is None else values | {f"{metric}{FINAL}": last}


def _place(setting: Searched) -> tuple[int, bool]:
    """Sorts sampling, layer and strength to the front, what else belongs to the suppression behind them."""
    own = setting.path.removesuffix(".name")
    return FIRST.index(own) if own in FIRST else len(FIRST), not own.startswith("suppression")
