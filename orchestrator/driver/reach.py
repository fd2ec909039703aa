"""Whether a Ray cluster answers at an address, within seconds: Ray itself tries for minutes, in its own words."""

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path
from threading import Timer
from urllib.parse import urlsplit

import ray
from pydantic import BaseModel, ValidationError
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._private.services import canonicalize_bootstrap_address  # as ray.init itself, ray 2.60
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]
from ray.exceptions import RayError

from orchestrator.driver.address import Address
from orchestrator.errors import InputError, one_line

ANSWER_SECONDS = 6.0
"""How long a cluster may take to answer, once the process that asks has started."""
PROBE = Path(__file__).with_name("gcs_probe.py")


class _Answer(BaseModel):
    """What the probe says."""

    ray: str = ""
    python: str = ""
    local: bool = False
    locked: bool = False
    problem: str = ""


def check_answers(address: Address) -> None:
    """Refuse an address at which no cluster answers that this process can drive.

    Raises:
        InputError: nothing answers, something else does, or a cluster of other versions or of other machines.
    """
    if address.text != "auto" and not _is_host_and_port(address.text):
        raise InputError(
            f"{address}: not HOST:PORT of a cluster's head, such as 10.0.0.1:6379; Ray Client (ray://) is not "
            "supported: run the command on a node of the cluster, or submit it as a job (ray job submit)"
        )
    try:
        target = canonicalize_bootstrap_address(address.text)
    except (ValueError, OSError) as error:  # ConnectionError: "auto", and there is none
        raise InputError(f"{address}: {one_line(error)}") from error
    assert target is not None  # that would be "local"
    answer = _asked(target)
    # only for a cluster that Ray itself finds would ray.init use a token that exists
    if answer.locked and "RAY_AUTH_MODE" not in os.environ and maybe_enable_token_auth_if_token_available(False):
        answer = _asked(target)
    _check(answer, address, "" if target == address.text else f"{target}: ")


def _is_host_and_port(address: str) -> bool:
    try:
        parts = urlsplit(f"//{address}")
        return parts.netloc == address and bool(parts.hostname) and bool(parts.port) and "@" not in address
    except ValueError:  # no port has such a number, no address such brackets
        return False


def _asked(address: str) -> _Answer:
    """What a process of its own finds out, killed in time."""
    command = [sys.executable, "-P", str(PROBE), address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # Ray is imported
        deadline = Timer(ANSWER_SECONDS, process.kill)
        deadline.start()
        answer = process.stdout.read()
        deadline.cancel()
    if process.returncode == -signal.SIGKILL:
        return _Answer(problem=f"no answer within {ANSWER_SECONDS:g} s")
    try:
        return _Answer.model_validate_json(answer)
    except ValidationError:  # Ray ends a process whose cluster it does not understand
        return _Answer(problem="something else answers")


def _has_token() -> bool:
    try:
        return bool(AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))
    except RayError:  # RAY_AUTH_TOKEN_PATH names a file that is not there
        return False


def _unlike(mode: str | None) -> str:
    """Why the token that is here, if any, does not open the cluster."""
    if mode is None:
        return ", and there is none here"
    return ", which is another one than the one here" if mode.lower() == "token" else f"; here is RAY_AUTH_MODE={mode}"


def _check(answer: _Answer, address: Address, target: str) -> None:
    here = (ray.__version__, platform.python_version())
    if answer.problem and os.environ.get("RAY_AUTH_MODE", "").lower() == "token" and not _has_token():
        raise InputError(
            f"{address}: RAY_AUTH_MODE=token is set, and there is no token here: copy that of the cluster's head (ray "
            "get-auth-token) to ~/.ray/auth_token or RAY_AUTH_TOKEN"
        )
    if answer.problem:
        raise InputError(f"{address}: no Ray cluster answers there ({target}{answer.problem})")
    if answer.locked:
        raise InputError(
            f"{address}: the cluster wants its token{_unlike(os.environ.get('RAY_AUTH_MODE'))}: copy the token of its "
            "head (ray get-auth-token) to ~/.ray/auth_token or RAY_AUTH_TOKEN, and set RAY_AUTH_MODE=token"
        )
    if (answer.ray, answer.python) != here:
        raise InputError(
            f"{address}: the cluster has ray {answer.ray} and Python {answer.python}, here are ray {here[0]} and "
            f"Python {here[1]}; install the same versions everywhere"
        )
    if not answer.local:
        raise InputError(
            f"{address}: no node of that cluster runs on this machine; run the command on one of its nodes, or make "
            "this machine one (ray start --address=...)"
        )
