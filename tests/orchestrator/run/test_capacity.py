"""How many trials machines hold at a time."""

from typing import Any

import pytest

from orchestrator.errors import InputError
from orchestrator.run.capacity import trials_at_a_time
from orchestrator.studyfile import ResourcesSection


@pytest.mark.parametrize(
    ("nodes", "settings", "slots"),
    [
        ([(16, 0)], {"cpu": 3}, 5),
        ([(16, 1)], {"cpu": 1, "gpu": 0.3}, 3),
        ([(16, 2)], {"cpu": 1, "gpu": 0.6}, 2),
        ([(2, 2)], {"cpu": 1, "gpu": 0.1}, 2),
        ([(16, 3)], {"cpu": 1, "gpu": 2}, 1),
        ([(16, 8), (4, 0)], {"cpu": 1, "gpu": 1}, 8),
        ([(16, 8)], {"cpu": 1, "gpu": 1, "max_concurrent": 3}, 3),
    ],
)
def test_slots(nodes: list[tuple[int, int]], settings: dict[str, Any], slots: int) -> None:
    machines = [{"CPU": cpus, "GPU": gpus} for cpus, gpus in nodes]
    assert trials_at_a_time(machines, ResourcesSection(**settings)) == slots


@pytest.mark.parametrize("settings", [{"gpu": 1}, {"cpu": 64}])
def test_what_no_node_has_is_a_line(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"no node can ever meet this; the largest has \{cpu: 2, gpu: 0\}"):
        trials_at_a_time([{"CPU": 2, "GPU": 0}, {"CPU": 1}], ResourcesSection(**settings))
