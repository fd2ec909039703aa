"""A PostgreSQL of this script's own, on the loopback interface, from the programs of Debian's package."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


def programs() -> Path | None:
    """The folder of ``initdb`` and ``pg_ctl``; None where they, or the driver psycopg2, are not installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return folders[-1].parent if folders and find_spec("psycopg2") else None


@contextmanager
def postgres() -> Iterator[str]:
    """Run a new, empty server; yields the address of its database.

    Raises:
        subprocess.CalledProcessError: it does not start.
    """
    folder, tools = Path(tempfile.mkdtemp(prefix="postgres")), programs()
    assert tools is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    user = "postgres" if os.getuid() == 0 else ""  # PostgreSQL does not run as root
    if user:
        shutil.chown(folder, user)
    as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
    control = [*as_user, str(tools / "pg_ctl"), "--pgdata", str(folder / "data")]

    def call(command: list[str]) -> None:
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)

    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder}"
    call([*as_user, str(tools / "initdb"), "--auth=trust", "--username=mlflow", "--pgdata", str(folder / "data")])
    call([*control, "--wait", "--log", str(folder / "log"), "--options", options, "start"])
    try:
        yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
    finally:
        call([*control, "--wait", "--mode=immediate", "stop"])
        shutil.rmtree(folder, ignore_errors=True)
