"""Where each rank of a trial computes, and what joins them."""

import pytest
import torch

from trainable.failure import TrialFailed
from trainable.team.forming import Placement, placement

OWN = "cpu:gloo,cuda:nccl"


@pytest.mark.parametrize(
    ("gpus", "device", "places"),
    [
        (0, None, [("cpu", "gloo")] * 2),
        (4, "cpu", [("cpu", "gloo")] * 2),
        (2, None, [("cuda:0", OWN), ("cuda:1", OWN)]),
        (4, "cuda", [("cuda:0", OWN), ("cuda:1", OWN)]),
        (1, "cuda", [("cuda:0", "gloo")] * 2),
        (4, "cuda:3", [("cuda:3", "gloo")] * 2),
    ],
)
def test_each_rank_has_a_gpu_where_there_are_enough(
    monkeypatch: pytest.MonkeyPatch, gpus: int, device: str | None, places: list[tuple[str, str]]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert [placement(rank, 2, device) for rank in range(2)] == [Placement(*place) for place in places]


def test_nccl_knows_its_gpu_and_gloo_has_none() -> None:
    assert Placement("cuda:1", OWN).gpu == torch.device("cuda:1")
    assert Placement("cuda:0", "gloo").gpu is None


def test_a_gpu_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(TrialFailed, match="no CUDA device"):
        placement(0, 2, "cuda")
