"""Temporary folders of a launch, found fit before Ray starts: where it cannot write, Ray hangs and then blames nobody.

Ray keeps sockets and logs in ``ray`` below RAY_TMPDIR, else TMPDIR, else /tmp, and the name of a socket is limited
(unix(7)). What a launch itself and its workers keep for a while lies where Python's tempfile says.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import MachineError, refusal

SOCKET_BYTES = 107
"""Longest name of a socket on Linux."""
SOCKET = "session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest name that Ray 2.60 gives one, below its folder."""
ROOM_BYTES = 8 << 20
"""Ray's logs of a few trials; without them its processes do not find each other."""
SHORT_FOLDERS = ("/tmp", "/dev/shm", "/var/tmp")


@contextmanager
def ray_folder(say: Callable[[str], None]) -> Iterator[str]:
    """The folder of a Ray of our own: the one Ray would take, or a short one, private and removed at the end.

    Raises:
        MachineError: it cannot be written, or its disk is full.
    """
    problem = ray_obstacle()
    if problem:
        raise MachineError(problem)
    whose, base = _base()
    folder = os.path.join(base, "ray")
    excess = len(os.fsencode(os.path.join(folder, SOCKET))) - SOCKET_BYTES
    if excess <= 0:
        yield folder
        return
    with _short_folder() as short:
        say(f"{whose} is {excess} bytes too long for Ray's sockets: Ray keeps them and its logs in {short}")
        yield short


def ray_obstacle() -> str | None:
    """What keeps Ray from writing on this machine now, and what would be right; None where it can."""
    whose, base = _base()
    problem = _obstacle(base)
    if problem is None:
        return None
    variable = "RAY_TMPDIR" if whose.startswith("RAY_TMPDIR") else "TMPDIR"
    remedy = f"make room there, or let {variable} name a folder that can be written"
    return f"{whose}: {problem}; Ray keeps its sockets and logs there: {remedy}"


@contextmanager
def scratch_folder() -> Iterator[str]:
    """A folder for what nobody reads again.

    Raises:
        MachineError: there is no temporary folder that can be written.
    """
    try:
        scratch = tempfile.TemporaryDirectory(prefix="orchestrator-ray-", ignore_cleanup_errors=True)
    except OSError as error:
        raise MachineError(f"{refusal(error)}; make room there, or let TMPDIR name a folder that has some") from error
    with scratch as folder:
        yield folder


def provide_token() -> None:
    """Give Ray the token of this launch where it cannot keep one in the home folder, as it would."""
    try:
        token = Path.home() / ".ray/auth_token"
        usable = token.is_file() or _obstacle(str(token.parent), room=0) is None
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        usable = False
    if not usable:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _base() -> tuple[str, str]:
    """What names Ray's temporary folder, for messages, and the folder, absolute."""
    for variable in ("RAY_TMPDIR", "TMPDIR"):
        if os.environ.get(variable):
            return f"{variable}={os.environ[variable]}", os.path.abspath(os.environ[variable])
    return "/tmp", "/tmp"


def _obstacle(folder: str, room: int = ROOM_BYTES) -> str | None:
    """Why a folder, which is made if need be, cannot take ``room`` bytes; None where it can."""
    try:
        if os.path.exists(folder) and not os.path.isdir(folder):
            return "no folder"
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(4096))
            probe.flush()
            os.fsync(probe.fileno())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return refusal(error)
    return None if free >= room else f"{free / 1e6:.1f} MB free of {room / 1e6:.1f} MB that are needed"


@contextmanager
def _short_folder() -> Iterator[str]:
    for base in SHORT_FOLDERS:
        if os.path.isdir(base) and _obstacle(base) is None:
            with tempfile.TemporaryDirectory(prefix="ray-", dir=base, ignore_cleanup_errors=True) as private:
                yield os.path.join(private, "ray")  # Ray opens its own folder to everybody
            return
    raise MachineError(
        f"none of {', '.join(SHORT_FOLDERS)} can be written, and TMPDIR is too long for Ray's sockets: let RAY_TMPDIR "
        "name a short folder"
    )
