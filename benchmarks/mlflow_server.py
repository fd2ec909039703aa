"""An MLflow server of this script's own, on the loopback interface."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

START_SECONDS = 90.0


@contextmanager
def mlflow_server(folder: Path, *options: str, database: str | None = None) -> Iterator[str]:
    """Serve a new SQLite database in ``folder``, or another one; yields the address and ends it with its processes.

    Raises:
        SystemExit: it does not start.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), *options]
    command += [
        "--backend-store-uri",
        database or f"sqlite:///{folder}/server.db",
        "--artifacts-destination",
        f"{folder}/artifacts",
    ]
    with open(folder / "server.txt", "w") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError), urlopen(f"{address}/health", timeout=2):
                break
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"mlflow server does not start:\n{(folder / 'server.txt').read_text()}")
            time.sleep(0.2)
        yield address
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # it has processes of its own
        server.wait()
