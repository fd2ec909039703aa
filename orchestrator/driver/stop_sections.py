"""Stretches of a launch, and what a stop does in each."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Section:
    """A stretch of a launch, and what a stop does in it."""

    awaits: Callable[[], str]
    """What a stop waits for, as the user reads it."""
    quiet_s: float
    """How long a stop may take before the user is told that it is at work."""
    patience_s: float
    """Seconds until the main thread is interrupted; infinite where the section ends by itself."""
    limit_s: float
    """Seconds until nothing is waited for any more."""
    needs_ray: bool = False
    """Whether it ends only while Ray lives."""
    entered: float = field(default_factory=time.monotonic)


def preparing() -> Section:
    """Before there is anything to write down: a stop leaves at once."""
    return Section(lambda: "leaving in order what has begun", quiet_s=1.0, patience_s=0.0, limit_s=20.0)


def ending() -> Section:
    """Once there is: it comes to its end, but not for ever."""
    return Section(lambda: "writing down what ended", quiet_s=0.3, patience_s=math.inf, limit_s=60.0)
