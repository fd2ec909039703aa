"""The group of a trial's ranks: where each computes, how they find each other, and how they part."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]  # not in its list of names

from trainable.failure import TrialFailed

HOST = "127.0.0.1"
LOOPBACK = "lo"
INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
"""Ranks of one machine need no network: nothing else may reach them."""


@dataclass(frozen=True)
class Placement:
    """Where a rank computes."""

    device: str
    backend: str
    """Of the group, as ``init_process_group`` takes it."""

    @property
    def gpu(self) -> torch.device | None:
        """The rank's own GPU; None on CPUs and where ranks share one."""
        return torch.device(self.device) if "nccl" in self.backend else None


def placement(rank: int, ranks: int, device: str | None) -> Placement:
    """A GPU for each rank where there are enough, else the GPUs in turn; without any, the CPU.

    NCCL wants a GPU for each rank; ranks that share one speak through gloo.

    Args:
        rank: of this machine's, from 0.
        ranks: of this machine.
        device: ``cpu``, ``cuda`` or a torch device that all share; None takes GPUs if there are any.

    Raises:
        TrialFailed: there is no GPU.
    """
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if chosen.type != "cuda":
        return Placement(str(chosen), "gloo")
    gpus = torch.cuda.device_count()
    if gpus == 0:
        raise TrialFailed("no CUDA device; --device cpu trains on the CPU")
    if chosen.index is not None or gpus < ranks:
        index = rank % gpus if chosen.index is None else chosen.index
        return Placement(f"cuda:{index}", "gloo")
    return Placement(f"cuda:{rank}", "cpu:gloo,cuda:nccl")


def open_store(ranks: int, timeout_s: float) -> TCPStore:
    """Rank 0's store, on a port of 127.0.0.1 that the system picks; nobody else can take it in between."""
    listening = socket.create_server((HOST, 0))
    port = listening.getsockname()[1]
    limit = timedelta(seconds=timeout_s)
    return TCPStore(
        HOST, port, ranks, is_master=True, timeout=limit, wait_for_workers=False, master_listen_fd=listening.detach()
    )


def join_store(port: int, ranks: int, timeout_s: float) -> TCPStore:
    """The store that rank 0 opened."""
    return TCPStore(HOST, port, ranks, is_master=False, timeout=timedelta(seconds=timeout_s))


def form_group(store: Store, rank: int, ranks: int, place: Placement, timeout_s: float) -> None:
    """Join the default group; a collective that waits longer than ``timeout_s`` for another rank then fails."""
    if place.device.startswith("cuda"):
        torch.cuda.set_device(place.device)
    with _loopback():
        dist.init_process_group(
            place.backend,
            store=store,
            rank=rank,
            world_size=ranks,
            timeout=timedelta(seconds=timeout_s),
            device_id=place.gpu,
        )


def leave_group() -> None:
    """Leave the default group where there is one, so that the process may join another."""
    if dist.is_initialized():
        dist.destroy_process_group()


def break_off() -> bool:
    """Let go of this rank's collectives in flight where they wait on a GPU, in any thread; whether there were any.

    What waits through gloo fails by itself as soon as the other rank's process ends.
    """
    group = dist.group.WORLD
    if group is None or "nccl" not in dist.get_backend_config():
        return False
    with suppress(RuntimeError):  # it ends by itself meanwhile
        group._get_backend(torch.device("cuda")).abort()
    return True


@contextmanager
def _loopback() -> Iterator[None]:
    """Let ranks meet on this machine's own interface, whatever its name resolves to; what the user sets is kept."""
    has_loopback = any(name == LOOPBACK for _, name in socket.if_nameindex())
    wanted = [name for name in INTERFACES if has_loopback and name not in os.environ]
    os.environ.update(dict.fromkeys(wanted, LOOPBACK))
    try:
        yield
    finally:
        for name in wanted:
            del os.environ[name]
