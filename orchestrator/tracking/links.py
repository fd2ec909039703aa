"""Links between the pages of a study in MLflow, relative to any of its pages, as Markdown."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.tracking.notes import escaped


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
        return escaped(key) if run_id is None else f"[{escaped(key)}](#/experiments/{self.experiment_id}/runs/{run_id})"

    def artifact(self, name: str) -> str:
        """Address of a file of the parent run."""
        return f"#/experiments/{self.experiment_id}/runs/{self.parent}/artifacts/{name}"
