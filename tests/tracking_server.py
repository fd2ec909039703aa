"""An MLflow server on the loopback interface, for tests that need a real one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """Serves the database in ``folder``; yields the address, and kills the server with its workers at the end."""
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/files"]
    with open(folder / "server.log", "a") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while True:
            with suppress(OSError), urlopen(f"{address}/health", timeout=5):
                break
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline, "mlflow server does not start"
            time.sleep(0.3)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
