"""Stand-ins for what the script for SLURM starts, without Ray: ``... ray OPTIONS`` and ``... sweep OPTIONS``."""

import os
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType

SWEEP_CODES = "SWEEP_CODES"
"""Environment variable: how the sweep of each start of the job ends by itself, ``SECONDS:CODE,SECONDS:CODE``."""


def ray(options: list[str]) -> None:
    """A head that listens and tells where, or a node that ends a few seconds after its head."""
    values = dict(option.partition("=")[::2] for option in options)
    if "--head" in values:
        with socket.create_server((values["--node-ip-address"], 0)) as server:
            address = ":".join(map(str, server.getsockname()))
            Path(values["--temp-dir"], "ray_current_cluster").write_text(address)
            time.sleep(1000)
    host, port = values["--address"].split(":")
    missed = 0
    while missed < 3:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            missed = 0
        except OSError:
            missed += 1
        time.sleep(0.5)
    sys.exit(1)


def sweep(options: list[str]) -> None:
    """A launch that says what it was given, ends by itself as it was told, and with 143 at a signal."""

    def stop(number: int, _frame: FrameType | None) -> None:
        print(f"sweep: {signal.Signals(number).name}", flush=True)
        time.sleep(1)
        sys.exit(143)

    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, stop)
    print(f"sweep: {' '.join(options)}", flush=True)
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    host, port = os.environ["RAY_ADDRESS"].split(":")
    socket.create_connection((host, int(port))).close()
    starts = os.environ[SWEEP_CODES].split(",")
    seconds, code = starts[int(os.environ.get("SLURM_RESTART_COUNT", "0"))].split(":")
    time.sleep(float(seconds))
    sys.exit(int(code))


if __name__ == "__main__":
    {"ray": ray, "sweep": sweep}[sys.argv[1]](sys.argv[2:])
