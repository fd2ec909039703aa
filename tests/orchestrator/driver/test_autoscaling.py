"""A study whose nodes are still to come: an autoscaler brings them when trials wait, or says that it never will."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.store.records import Store
from orchestrator.store.trial_record import State

HERE = Path(__file__).parent
SPEC = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes}
model: {arch: linknet, encoder: tu-test_resnet, encoder_weights: null}
train: {epochs: 2, batch_size: 2}
suppression: {p_max: {uniform: [0, 1]}}
search: {sampler: random, trials: 3, references: []}
resources: {cpu: CPUS, gpu: 0}
tracking: {enabled: false}
"""
ALONE = """
ip link set lo up
mkdir -p /tmp/ray
mount -t tmpfs none /tmp/ray
exec "$@"
"""


def run_study(folder: Path, cpus: int) -> subprocess.CompletedProcess[str]:
    """A launch on a cluster of a head without CPUs, to which up to two nodes of 2 CPUs may come."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("namespaces need root, iproute2 and util-linux")
    (folder / "s.yaml").write_text(SPEC.replace("CPUS", str(cpus)))
    unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-ec", ALONE]
    paths = os.pathsep.join([str(HERE.parents[2]), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    environment.pop("RAY_ADDRESS", None)
    script = [sys.executable, str(HERE / "scaling_cluster.py"), str(folder)]
    command = [*unshare, "bash", *script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.cluster
def test_a_study_waits_for_its_nodes_and_runs_on_them(tmp_path: Path) -> None:
    done = run_study(tmp_path, cpus=2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no node of the cluster can hold a trial yet" in done.stdout + done.stderr
    records = Store(f"{tmp_path}/studies", "s").records()
    assert [record.state for record in records] == [State.COMPLETE] * 3
    assert "Traceback" not in done.stderr


@pytest.mark.cluster
def test_a_study_that_no_node_type_can_hold_ends(tmp_path: Path) -> None:
    done = run_study(tmp_path, cpus=16)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "resources: {cpu: 16, gpu: 0}: the cluster's autoscaler has no node type that can meet this" in done.stderr
    assert Store(f"{tmp_path}/studies", "s").records() == []
