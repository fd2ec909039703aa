"""A Ray of our own: what it starts, and that trials find workers that are loaded."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from orchestrator.driver import own_ray
from orchestrator.driver.own_ray import as_needed, plain_actors, preloaded
from orchestrator.driver.stop import Stop
from orchestrator.studyfile import ResourcesSection

LOADED = ["orchestrator.worker.without_collector", "orchestrator.worker.ray_trial", "a.b"]
PRELOAD, PRESTART = "RAY_preload_python_modules", "RAY_prestart_worker_first_driver"


@pytest.mark.parametrize(
    ("resources", "trials", "expected"),
    [
        ({}, 9, LOADED),
        ({"cpu": 0.5}, 9, LOADED),
        ({"cpu": 2}, 9, []),
        ({"max_concurrent": 3}, 9, []),
        ({}, 3, []),
        ({"gpu": 0.25}, 9, []),
        ({"gpu": "auto"}, 9, []),
    ],
)
def test_workers_are_loaded_only_where_each_gets_a_trial(monkeypatch, resources, trials, expected):
    monkeypatch.setattr(own_ray, "allocated_cpus", lambda: 4)
    assert preloaded(ResourcesSection(**resources), "a.b:fit", trials) == expected


def test_ray_is_left_as_it_was(monkeypatch):
    from ray._private.node import Node

    monkeypatch.setenv(PRELOAD, "theirs")
    before = dict(os.environ), dict(vars(Node))
    with pytest.raises(OSError, match="full"), as_needed(["a"]):
        raise OSError("full" if os.environ[PRELOAD] == "a" else "not told")
    with as_needed([]):
        assert os.environ[PRESTART] == "0"
    assert (dict(os.environ), dict(vars(Node))) == before


@pytest.mark.integration
def test_a_ray_of_our_own_starts_what_is_needed_and_its_actors_are_loaded(tmp_path: Path):
    import ray
    from ray.tune.execution.class_cache import _ActorClassCache

    from orchestrator.driver.cluster import cluster

    class Trial:
        def loaded(self) -> bool:
            return LOADED[1] in sys.modules

    with Stop("again") as stop, cluster(None, ResourcesSection(), stop, preload=LOADED[1:2]):
        lines = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
        assert not [line for line in lines if "log_monitor" in line or "monitor.py" in line or "dashboard.py" in line]
        with plain_actors():
            actors = [_ActorClassCache().get(Trial).remote() for _ in range(2)]
        assert all(ray.get([actor.loaded.remote() for actor in actors], timeout=60)), "they did not take its workers"
