"""Whether an MLflow server answers at an address: one request of a few seconds, without credentials."""

import json
import socket
import ssl
from http import HTTPStatus
from http.client import BadStatusLine, HTTPException, InvalidURL, RemoteDisconnected
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from orchestrator.errors import one_line

ANSWER_S = 5.0
"""How long a server may take."""
QUESTION = "/api/2.0/mlflow/experiments/search?max_results=1"
_UNKNOWN_HOST = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
"""What a name server says of a host that does not exist; that it cannot say now is another matter."""


class NotMLflow(Exception):
    """MLflow is not, and will not be, at an address; says why."""


def server_trouble(uri: str) -> str | None:
    """Why an MLflow server does not answer now; None where one does.

    Certificates are not looked at, as nothing is told to the server: MLflow's own requests look at them.

    Raises:
        NotMLflow: there is no such host, or what answers is something else.
    """
    opener = build_opener(_NoRedirect, HTTPSHandler(context=ssl._create_unverified_context()))
    try:
        with opener.open(Request(_without_user(uri).rstrip("/") + QUESTION), timeout=ANSWER_S) as answer:
            json.loads(answer.read())
    except HTTPError as error:
        return _judged(error.code)
    except (InvalidURL, UnicodeError) as error:
        raise NotMLflow(f"is no address ({error})") from error
    except (URLError, HTTPException, OSError) as error:
        return _judged_failure(error.reason if isinstance(error, URLError) else error)
    except ValueError as error:  # no JSON
        raise NotMLflow("answers, but not as an MLflow server does") from error
    return None


def _without_user(uri: str) -> str:
    """The address without ``USER:PASSWORD@``, which urllib would take for a part of the host."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class _NoRedirect(HTTPRedirectHandler):
    """Leads nowhere: a page to log in at says nothing about what is behind it."""

    def redirect_request(self, *_args: object, **_options: object) -> None:
        return None


def _judged(status: int) -> str | None:
    """What an answer that is an error says: one about who asks leaves open what is behind it."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return f"it answers with status {status}"
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.BAD_REQUEST, HTTPStatus.GONE):
        raise NotMLflow(f"answers, but not as an MLflow server does (status {status} to {QUESTION.partition('?')[0]})")
    return None


def _judged_failure(reason: object) -> str:
    match reason:
        case socket.gaierror() if reason.errno in _UNKNOWN_HOST:
            raise NotMLflow("there is no such host")
        case ssl.SSLError() if "WRONG_VERSION_NUMBER" in str(reason):
            raise NotMLflow("what answers there does not speak TLS; is it http://?")
        case BadStatusLine() if not isinstance(reason, RemoteDisconnected):
            raise NotMLflow("what answers there does not speak HTTP")
        case BaseException():
            return one_line(reason) or type(reason).__name__
        case _:
            return str(reason)
