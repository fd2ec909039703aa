"""What MLflow holds of a run, as far as it decides what is still to be written."""

from dataclasses import dataclass, field

from mlflow.entities import Run

from orchestrator.store.trial_record import State

STATUS = {
    State.RUNNING: "RUNNING",
    State.COMPLETE: "FINISHED",
    State.PRUNED: "FINISHED",
    State.FAILED: "FAILED",
    State.INTERRUPTED: "KILLED",
}
"""MLflow's word for a trial's state."""


@dataclass
class TrackedRun:
    """The run of a trial, or the parent run."""

    run_id: str
    artifacts: str
    """Where its files lie."""
    status: str = "RUNNING"
    steps: dict[str, int] = field(default_factory=dict)
    """Last step of each metric."""
    params: frozenset[str] = frozenset()
    """Of a run of an earlier launch."""
    has_all_params: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    has_data: bool = False


def tracked(run: Run) -> TrackedRun:
    """What a run of an earlier launch holds."""
    return TrackedRun(
        run_id=str(run.info.run_id),
        artifacts=str(run.info.artifact_uri),
        status=str(run.info.status),
        steps={metric.key: int(metric.step) for metric in run.data.to_proto().metrics},
        params=frozenset(run.data.params),
        tags=dict(run.data.tags),
        has_data=bool(run.inputs and run.inputs.dataset_inputs),
    )
