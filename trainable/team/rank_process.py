"""A further process of a trial: ``python -m trainable.team.rank_process SOCKET PARENT``, started by rank 0 alone.

It takes part in one trial after another, so that torch is imported once. Between epochs it waits for rank 0's order. It
ends with rank 0, even a killed one: the system kills it with its parent, and it ends itself when the socket closes.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Any

from trainable.program import end_with
from trainable.team.messages import Epoch, Order, Ready, Resting, Task, failure_of

Fit = Callable[..., Generator[Any, None, None]]
"""As `trainable.train.engine.fit`."""
NOT_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that a terminal or a batch system sends to all processes of a trial: rank 0 says what follows from them."""


def main() -> None:
    """Take part in trials until rank 0 closes the socket."""
    connection, parent = Connection(int(sys.argv[1])), int(sys.argv[2])
    os.set_inheritable(connection.fileno(), False)  # or processes of this one would keep it open after its end
    end_with(parent)
    for each in NOT_OURS:
        signal.signal(each, signal.SIG_IGN)
    orders: SimpleQueue[Task | Order] = SimpleQueue()
    Thread(target=_listen, args=(connection, orders), daemon=True).start()
    while True:
        task = orders.get()
        if not isinstance(task, Task):
            raise AssertionError(f"{task} without a trial")
        try:
            _take_part(task, connection, orders)
        except Exception as error:
            with suppress(OSError):  # rank 0 is gone
                connection.send(failure_of(error, traceback.format_exc()))
            os._exit(1)  # what waits for this rank in a collective then fails at once


def _listen(connection: Connection, orders: "SimpleQueue[Task | Order]") -> None:
    try:
        while True:
            orders.put(connection.recv())
    except (EOFError, OSError):
        os._exit(1)


def _take_part(task: Task, connection: Connection, orders: "SimpleQueue[Task | Order]") -> None:
    import torch  # late: this process watches its parent before it imports for seconds

    from trainable.team.forming import form_group, join_store, leave_group, placement

    place = placement(task.rank, task.ranks, task.device)
    state = torch.load(task.state, map_location="cpu", weights_only=True) if task.state else None
    fit = named_fit(task.fit)
    store = join_store(task.port, task.ranks, task.timeout_s)
    connection.send(Ready())
    form_group(store, task.rank, task.ranks, place, task.timeout_s)
    results = fit(task.config, device=place.device, threads=task.threads, resume_from=state)
    del state
    while orders.get() is Order.EPOCH:
        result = next(results, None)
        connection.send(Epoch(result.epoch if result else None))
        del result
    results.close()
    leave_group()
    connection.send(Resting())


def named_fit(name: str) -> Fit:
    """The function that ``module:function`` names."""
    module, _, function = name.partition(":")
    fit: Fit = getattr(import_module(module), function)
    return fit


if __name__ == "__main__":
    main()
