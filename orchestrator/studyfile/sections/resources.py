"""The sections ``resources`` and ``tracking`` of a study file: what its trials occupy, and where they are shown."""

import shlex
from typing import Annotated, Literal

from pydantic import Field, Tag, ValidationInfo, field_validator

from trainable.section import NAME_OR_AMOUNT, Section

SMALLEST_SHARE = 0.01
"""Of a processor or a GPU: Ray counts in ten thousandths, and a hundred trials fill the memory of any."""
MOST_GPUS = 64
"""More than any node has: the GPUs of a trial are of one."""
DAY_S = 86_400


class ResourcesSection(Section):
    """What each trial occupies, and how many run at once."""

    cpu: Annotated[float, Field(ge=SMALLEST_SHARE, le=1024)] = 1
    """CPU cores per trial, of all its ranks together."""
    gpu: Annotated[
        Annotated[Literal["auto"], Tag("alone")] | Annotated[float, Field(ge=0, le=MOST_GPUS), Tag("amount")],
        NAME_OR_AMOUNT,
    ] = 0.0
    """GPUs per trial: a fraction below 1 shares one and holds as much of its memory; a trial of several trains on all
    of them, on one node; auto: the share that trials of its kind are measured to need, in a short probe before the
    first of each kind."""
    ranks: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Processes that train a trial together, on CPUs, at most one per core; null: one per GPU, else 1."""
    max_concurrent: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Trials at once; null: as many as fit."""
    retries: Annotated[int, Field(ge=0, le=1000)] = 3
    """New attempts at a trial whose worker was lost; failures of a trial's own are not tried again."""
    retry_backoff_s: Annotated[float, Field(ge=0, le=DAY_S)] = 1.0
    """Seconds before the first new attempt, twice as many before each further one, at most 60."""
    trial_timeout_s: Annotated[float, Field(gt=0, le=365 * DAY_S)] | None = None
    """Longest time of an epoch (setup included); a trial that takes longer is ended and counts as failed."""
    wait_for_nodes_s: Annotated[float, Field(ge=0, le=7 * DAY_S)] = 900.0
    """Longest wait for a first node that holds a trial, in a cluster that was joined; past it the exit code is 75."""
    stop_grace_s: Annotated[float, Field(ge=0, le=DAY_S)] = 30.0
    """Longest wait for the epochs in flight when the study is stopped; past it the last complete epoch stands."""
    share_prefixes: bool = True
    """Train the epochs before suppression.start once for all runs of a seed that agree in all that acts before; false:
    every run trains them itself, which gives the same."""

    @property
    def most_gpus(self) -> float:
        """GPUs that a trial may take; of ``auto`` a whole one."""
        return 1.0 if isinstance(self.gpu, str) else self.gpu

    @property
    def asked(self) -> str:
        """What each trial occupies, as it is written."""
        gpu = self.gpu if isinstance(self.gpu, str) else f"{self.gpu:g}"
        return f"{{cpu: {self.cpu:g}, gpu: {gpu}}}"

    @property
    def threads(self) -> int:
        """Torch's threads in each rank of a trial."""
        return max(1, int(self.cpu) // self.trial_ranks)

    @property
    def trial_ranks(self) -> int:
        """Processes that train a trial together."""
        return self.ranks or max(1, int(self.most_gpus))

    @field_validator("gpu")
    @classmethod
    def _no_sliver(cls, gpu: Literal["auto"] | float) -> Literal["auto"] | float:
        if isinstance(gpu, str):
            return gpu
        if 0 < gpu < SMALLEST_SHARE:
            raise ValueError(f"must be 0 or >= {SMALLEST_SHARE}, got {gpu}")
        if gpu > 1 and gpu != int(gpu):
            raise ValueError(f"must be at most 1 or a whole number, got {gpu:g}; a trial shares a GPU or has its own")
        return gpu

    @field_validator("ranks")
    @classmethod
    def _rank_per_gpu(cls, ranks: int | None, info: ValidationInfo) -> int | None:
        gpu = info.data.get("gpu", 0)
        if ranks is not None and gpu and (isinstance(gpu, str) or ranks != max(1, int(gpu))):
            on = gpu if isinstance(gpu, str) else f"{gpu:g}"
            raise ValueError(f"must be left out where there is a GPU, got {ranks} with gpu: {on}; a GPU has one rank")
        cpu = info.data.get("cpu")
        if ranks is not None and cpu is not None and not gpu and ranks > max(1, cpu):
            raise ValueError(f"must be at most cpu ({cpu:g}), got {ranks}; each rank needs a core")
        return ranks


class TrackingSection(Section):
    """Where MLflow shows the study."""

    enabled: bool = True
    """false logs nothing to MLflow."""
    uri: str | None = None
    """Tracking server or database; null: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db."""
    experiment: str | None = None
    """Experiment; null: the study's name."""
    system_metrics: bool | None = None
    """Measure processors, memory and GPU in each epoch; null: where trials have a GPU."""
    model: bool = True
    """Keep the best trial's network in MLflow."""
    register_as: Annotated[str, Field(pattern=r"^[^/:\s][^/:]*$")] | None = None
    """Name in MLflow's registry of which the best trial's network becomes a new version; null registers none."""
    notify: str | None = None
    """Command that is run when a launch ends, fails or is stopped; it reads on stdin, as JSON, how. No shell reads it
    unless it names one: sh -c '...'. null: none."""

    @field_validator("notify")
    @classmethod
    def _is_a_command(cls, notify: str | None) -> str | None:
        try:
            words = shlex.split(notify) if notify is not None else [""]
        except ValueError as error:
            raise ValueError(f"must be a command, got one with an open end: {str(error).lower()}") from error
        if not words or "\0" in (notify or ""):
            raise ValueError("must be a command, got none")
        return notify

    @field_validator("register_as")
    @classmethod
    def _has_a_model(cls, register_as: str | None, info: ValidationInfo) -> str | None:
        if register_as is not None and info.data.get("model") is False:
            raise ValueError(f"needs model: true, got model: false with register_as: {register_as}")
        return register_as

    def measures_machine(self, resources: ResourcesSection) -> bool:
        """Whether trials measure their machine."""
        return resources.most_gpus > 0 if self.system_metrics is None else self.system_metrics
