"""Calls that wait for a server, several at a time."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def side_by_side(work: Callable[[T], object], items: Iterable[T], threads: int) -> None:
    """Work on every item; returns when nothing is at work any more.

    The threads keep no process alive, as those of ``concurrent.futures`` do until a server has answered.

    Raises:
        Exception: the first that was raised; items that nobody had begun by then are left out.
    """
    waiting, errors = deque(items), list[Exception]()

    def work_on() -> None:
        with suppress(IndexError):
            while not errors:
                item = waiting.popleft()
                try:
                    work(item)
                except Exception as error:
                    errors.append(error)

    others = [threading.Thread(target=work_on, name="mlflow", daemon=True) for _ in range(threads - 1)]
    others = others[: max(0, len(waiting) - 1)]
    for thread in others:
        thread.start()
    work_on()
    for thread in others:
        thread.join()
    if errors:
        raise errors[0]
