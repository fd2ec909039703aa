"""Links between the pages of a study in MLflow, relative to any of its pages, as Markdown."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.tracking.notes import escaped


def run_page(experiment_id: str, run_id: str, below: str = "") -> str:
    """Address of a run's page, or of one below it; without the type MLflow shows its pages for language models."""
    return f"#/experiments/{experiment_id}/runs/{run_id}{below}?workflowType=machine_learning"


@dataclass(frozen=True)
class Links:
    """Where the pages of a study are, relative to any page of MLflow's."""

    experiment_id: str
    parent: str
    """Id of the parent run."""
    runs: Mapping[str, str] = field(default_factory=dict)
    """Id of each trial's run by its key."""
    views: Mapping[str, str] = field(default_factory=dict)
    """Address of each view by its title."""

    def run(self, key: str) -> str:
        """A trial's key that leads to its run."""
        run_id = self.runs.get(key)
        return escaped(key) if run_id is None else f"[{escaped(key)}]({run_page(self.experiment_id, run_id)})"

    def artifact(self, name: str) -> str:
        """Address of a file of the parent run."""
        return run_page(self.experiment_id, self.parent, f"/artifacts/{name}")
