"""How many trials machines hold at a time, and how many CPUs of a machine are ours."""

import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver import capacity
from orchestrator.driver.capacity import Demand, allocated_cpus, has_room, trials_at_a_time
from orchestrator.errors import InputError
from orchestrator.studyfile import ResourcesSection


def machines(nodes: list[tuple[int, int]]) -> list[dict[str, float]]:
    return [{"CPU": cpus, "GPU": gpus} for cpus, gpus in nodes]


@pytest.mark.parametrize(
    ("nodes", "settings", "slots"),
    [
        ([(16, 0)], {"cpu": 3}, 5),
        ([(16, 1)], {"cpu": 1, "gpu": 0.3}, 3),
        ([(16, 2)], {"cpu": 1, "gpu": 0.6}, 2),
        ([(2, 2)], {"cpu": 1, "gpu": 0.1}, 2),
        ([(1, 0)], {"cpu": 0.1}, 10),
        ([(16, 8), (4, 0)], {"cpu": 1, "gpu": 1}, 8),
        ([(0, 0), (8, 1), (8, 1)], {"cpu": 4, "gpu": 1}, 2),
        ([(16, 8)], {"cpu": 1, "gpu": 1, "max_concurrent": 3}, 3),
        ([(16, 8), (16, 3)], {"cpu": 4, "gpu": 4}, 2),
        ([(8, 0)], {"cpu": 4, "ranks": 4}, 2),
    ],
)
def test_slots(nodes: list[tuple[int, int]], settings: dict[str, Any], slots: int) -> None:
    resources = ResourcesSection(**settings)
    assert trials_at_a_time(machines(nodes), resources) == slots
    demand, limit = Demand.of(resources), resources.max_concurrent or 10**6
    beside = [count for count in range(30) if has_room(machines(nodes), [demand] * count, demand) and count < limit]
    assert beside == list(range(slots)), "room for one more beside fewer than fit, and for none beside as many"


@pytest.mark.parametrize(
    ("nodes", "live", "another", "room"),
    [
        ([(4, 2)], [(1, 0.5), (1, 0.5)], (1, 1), True),
        ([(4, 2)], [(1, 0.5), (1, 0.6)], (1, 1), False),
        ([(4, 1)], [(1, 0.3), (1, 0.3)], (1, 0.4), True),
        ([(4, 1)], [(3, 0)], (2, 0.1), False),
        ([(2, 0), (4, 0)], [(2, 0)], (4, 0), True),
        ([(2, 0), (4, 0)], [(2, 0), (3, 0)], (2, 0), False),
        ([], [], (1, 0), False),
    ],
)
def test_each_trial_counts_with_its_own_demand(
    nodes: list[tuple[int, int]], live: list[tuple[float, float]], another: tuple[float, float], room: bool
) -> None:
    assert has_room(machines(nodes), [Demand(*demand) for demand in live], Demand(*another)) is room


def test_a_lost_node_leaves_no_room_for_what_it_held() -> None:
    assert not has_room(machines([(1, 0)]), [Demand(1, 0)] * 2, Demand(1, 0))


@pytest.mark.parametrize("settings", [{"gpu": 1}, {"cpu": 64}])
def test_what_no_node_has_is_a_line(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"no node can ever meet this; the largest has \{cpu: 2, gpu: 0\}"):
        trials_at_a_time([{"CPU": 2, "GPU": 0}, {"CPU": 1}], ResourcesSection(**settings))


def test_several_gpus_are_of_one_node() -> None:
    demand = r"\{cpu: 4, gpu: 4\}: no node can ever meet this; the largest has \{cpu: 8, gpu: 2\}"
    with pytest.raises(InputError, match=f"{demand}; the GPUs of a trial are of one node"):
        trials_at_a_time([{"CPU": 8, "GPU": 2}] * 4, ResourcesSection(cpu=4, gpu=4))


@pytest.mark.parametrize(
    ("settings", "ranks", "threads"),
    [
        ({}, 1, 1),
        ({"cpu": 4}, 1, 4),
        ({"cpu": 8, "gpu": 4}, 4, 2),
        ({"cpu": 2, "gpu": 4}, 4, 1),
        ({"cpu": 2, "gpu": 0.5}, 1, 2),
        ({"cpu": 5, "ranks": 2}, 2, 2),
        ({"gpu": 4, "ranks": 4}, 4, 1),
    ],
)
def test_ranks_share_the_processors_of_a_trial(settings: dict[str, Any], ranks: int, threads: int) -> None:
    resources = ResourcesSection(**settings)
    assert (resources.trial_ranks, resources.threads) == (ranks, threads)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """64 CPUs, no SLURM, no affinity, no quota; its folder of cgroups."""
    for variable in ("SLURM_JOB_ID", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(capacity, "CGROUP", tmp_path)
    monkeypatch.setattr(capacity, "OWN_CGROUPS", tmp_path / "self")
    return tmp_path


def test_without_limits_the_machine_is_ours(machine: Path) -> None:
    assert allocated_cpus() == 64


@pytest.mark.parametrize(
    ("variables", "cpus"),
    [
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "6"}, 6),
        ({"SLURM_CPUS_ON_NODE": "6"}, 64),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "x"}, 64),
        ({"SLURM_JOB_ID": "7"}, 64),
    ],
)
def test_a_job_of_slurm_has_what_slurm_gave_it(
    variables: dict[str, str], cpus: int, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert allocated_cpus() == cpus


def test_an_affinity_counts(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7})
    assert allocated_cpus() == 3


@pytest.mark.parametrize(
    ("own", "files", "cpus"),
    [
        ("0::/pod/box", {"pod/cpu.max": "400000 100000", "pod/box/cpu.max": "max 100000"}, 4),
        ("0::/", {"cpu.max": "250000 100000"}, 2),
        ("0::/box", {"box/cpu.max": "50000 100000"}, 1),
        ("4:cpu,cpuacct:/box", {"cpu,cpuacct/box/cpu.cfs_quota_us": "300000",
                                "cpu,cpuacct/box/cpu.cfs_period_us": "100000"}, 3),
        ("4:cpu:/box", {"cpu/box/cpu.cfs_quota_us": "-1", "cpu/box/cpu.cfs_period_us": "100000"}, 64),
        ("4:memory:/box", {"memory/box/cpu.max": "100000 100000"}, 64),
        ("nonsense", {}, 64),
    ],
)  # fmt: skip
def test_the_quota_of_a_cgroup_counts(own: str, files: dict[str, str], cpus: int, machine: Path) -> None:
    (machine / "self").write_text(f"{own}\n")
    for name, text in files.items():
        (machine / name).parent.mkdir(parents=True, exist_ok=True)
        (machine / name).write_text(f"{text}\n")
    assert allocated_cpus() == cpus
