"""Addresses where no run will ever arrive: told before the first trial in one line; a server that is away is none."""

import shlex
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator import sweep, track
from orchestrator.errors import InputError
from orchestrator.store.records import Store
from orchestrator.studyfile import Study
from orchestrator.tracking import server_check
from orchestrator.tracking.address_check import check_address, check_tracking
from orchestrator.tracking.schema_version import _revisions

Make = Callable[..., Study]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.db").write_text("hello\n" * 300)
    return tmp_path


def refusal(uri: str) -> str:
    with pytest.raises(InputError) as refused:
        check_address(uri, "tracking.uri")
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith("tracking.uri: ")
    return message.removeprefix("tracking.uri: ")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("mlruns", "mlruns: a folder of files, to which MLflow 3."),
        ("./a folder", "mlflow migrate-filestore --source DIR --target sqlite:///"),
        ("file:///tmp/mlruns", "a database is sqlite:///PATH"),
        ("text.db", "did you mean sqlite:////"),
        (
            "sqlit:///x.db",
            "unknown scheme 'sqlit'; one of http, https, sqlite, postgresql, mysql, mssql (did you mean 's",
        ),
        ("weird://", "unknown scheme 'weird'"),
        ("s3://bucket/x", "unknown scheme 's3'"),
        ("localhost:5000", "has no scheme; did you mean http://localhost:5000?"),
        ("127.0.0.1:5000/x", "has no scheme; did you mean http://127.0.0.1:5000/x?"),
        ("http://", "names no host"),
        ("http://h:99999", "Port out of range"),
        ("http://h:port", "Port could not be cast"),
        ("https://[::1", "Invalid IPv6 URL"),
        ("http://a b/", "is no address"),
        ("http://a..b/", "is no address"),
        ("sqlite:///folder", "is a folder; a database is a file, such as sqlite:////"),
        ("sqlite:///text.db", "cannot be used as a database: file is not a database"),
        ("sqlite:///text.db/mlflow.db", "text.db is not a folder"),
        ("sqlite://mlflow.db", "in memory, which ends with the launch; a file is sqlite:///mlflow.db, with three sl"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:mlflow.db", "is no address of a database"),
        ("sqlite:///file:x.db?mode=ro&uri=true", "for reading only (mode=ro)"),
        ("mysql+nodriver://h/db", "names an unknown driver"),
        ("mysql+asyncmy://me:hunter2@h/db", "needs the Python package of the module asyncmy"),
    ],
)
def test_an_address_that_mlflow_cannot_use_is_told_with_the_way_out(uri: str, expected: str) -> None:
    message = refusal(uri)
    assert expected in message
    assert "hunter2" not in message
    assert not Path("mlflow.db").exists(), "looking makes nothing"


def test_a_host_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_args: object, **_options: object) -> None:
        raise socket.gaierror(error, "no")

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    error = socket.EAI_NONAME
    assert refusal("http://me:hunter2@nohost:1/x") == "http://***@nohost:1/x: there is no such host"
    error = socket.EAI_AGAIN  # the name server is away
    assert "does not answer" in str(check_address("http://nohost:1", "tracking.uri"))


def test_addresses_that_mlflow_can_use(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("empty.db").touch()
    for good in (uri, "sqlite:///mlflow.db", "sqlite:///empty.db", "sqlite:///new/folder/x.db", "databricks"):
        assert check_address(good, "tracking.uri") is None
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert check_address("mlruns", "tracking.uri") is None


def change(uri: str, *statements: str) -> None:
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def test_the_tables_of_another_mlflow(uri: str) -> None:
    known, latest = _revisions()
    assert len(latest) == 1
    (older, *_) = known - latest
    change(uri, f"UPDATE alembic_version SET version_num = '{older}'")
    message = refusal(uri)
    assert f"of an older MLflow: take a copy, then mlflow db upgrade {shlex.quote(uri)}" in message
    change(uri, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    assert "a database of a newer MLflow than 3." in refusal(uri)
    change(uri, "DROP TABLE alembic_version")
    assert "not made whole; remove it" in refusal(uri)
    change("sqlite:///other.db", "CREATE TABLE alembic_version (version_num)", "CREATE TABLE studies (x)")
    assert "the database of another program" in refusal("sqlite:///other.db")


def test_the_latest_tables_are_those_that_mlflow_makes(uri: str) -> None:
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database:
        made = {row[0] for row in database.execute("SELECT version_num FROM alembic_version")}
    assert made == _revisions()[1]


def test_a_database_that_another_process_writes_is_one(uri: str) -> None:
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database:
        database.execute("BEGIN EXCLUSIVE")
        assert check_address(uri, "tracking.uri") is None


HALF = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")  # spills into the file before the transaction ends
database.execute("BEGIN")
database.execute("CREATE TABLE half_written (text)")
database.executemany("INSERT INTO half_written VALUES (?)", [("x" * 1000,)] * 1000)
os.kill(os.getpid(), 9)
"""


def test_a_database_whose_writer_was_killed_is_one(uri: str, place: Path) -> None:
    """SQLite takes back what was half written, for which it has to write."""
    file = uri.removeprefix("sqlite:///")
    subprocess.run([sys.executable, "-c", HALF, file], check=False)
    assert Path(f"{file}-journal").stat().st_size > 0
    assert check_address(uri, "tracking.uri") is None
    with closing(sqlite3.connect(file)) as database:
        assert not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'half_written'").fetchall()


def test_a_place_that_cannot_be_written(uri: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[Path] = []
    monkeypatch.setattr("os.access", lambda path, _mode: Path(path) not in refused)
    refused.append(Path(uri.removeprefix("sqlite:///")))
    assert refusal(uri).endswith(f"{refused[0]} cannot be written to")
    refused[:] = [place]
    assert refusal("sqlite:///new/x.db").endswith(f"{place} cannot be written to")


Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Serves an answer to every request; returns its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def log_message(self, *_args: object) -> None: ...

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def reply(status: int, body: bytes = b"") -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        if status == 302:
            request.send_header("Location", "https://login.example/")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


@pytest.mark.parametrize(
    ("status", "body"), [(200, b'{"experiments": []}'), (200, b"{}"), (401, b""), (403, b""), (302, b"")]
)
def test_a_server_that_may_be_mlflow(serve: Callable[[Answer], str], status: int, body: bytes) -> None:
    assert check_address(serve(reply(status, body)), "tracking.uri") is None


@pytest.mark.parametrize(
    ("status", "body"), [(404, b"no"), (405, b""), (400, b"TLS please"), (200, b"<html>a page</html>")]
)
def test_a_server_of_something_else(serve: Callable[[Answer], str], status: int, body: bytes) -> None:
    assert "answers, but not as an MLflow server does" in refusal(serve(reply(status, body)))


def test_what_speaks_no_http_and_no_tls(serve: Callable[[Answer], str]) -> None:
    plain = serve(reply(200, b"{}"))
    assert "does not speak TLS; is it http://?" in refusal(plain.replace("http://", "https://"))

    def babble(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"-ERR unknown command\r\n")

    assert "does not speak HTTP" in refusal(serve(babble))


@pytest.fixture
def dead() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_is_away_is_a_warning(
    serve: Callable[[Answer], str], dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_check, "ANSWER_S", 0.3)
    lines = [check_address(uri, "tracking.uri") for uri in (dead, serve(reply(503)), serve(lambda _request: None))]
    with socket.create_server(("127.0.0.1", 0), backlog=5) as silent:
        lines.append(check_address(f"http://127.0.0.1:{silent.getsockname()[1]}", "tracking.uri"))
    for line, reason in zip(lines, ("refused", "status 503", "closed", "timed out"), strict=True):
        assert line is not None
        assert reason in line
        assert line.startswith("warning: tracking.uri: http://127.0.0.1:")
        assert "the study runs all the same, and MLflow gets what it lacks when it answers" in line


def test_the_message_says_what_named_the_address(study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"s\.yaml: tracking\.uri: mlruns: a folder of files"):
        check_tracking(study("tracking.uri=mlruns"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "weird://")
    with pytest.raises(InputError, match=r"^MLFLOW_TRACKING_URI: weird://: unknown scheme"):
        check_tracking(study())
    assert check_tracking(study("tracking.enabled=false")) is None


@pytest.mark.parametrize("options", [[], ["--dry-run"]])  # which tells the rest of the study all the same
def test_a_launch_refuses_it_before_anything_is_written(
    study: Make, place: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    study()
    before = sorted(place.rglob("*"))
    assert sweep.main(["s.yaml", "--set", "tracking.uri=sqlit:///x.db", *options]) == 2
    captured = capsys.readouterr()
    assert bool(captured.out) == bool(options)
    assert captured.err.startswith("s.yaml: tracking.uri: sqlit:///x.db: unknown scheme 'sqlit'")
    assert captured.err.count("\n") == 1
    assert sorted(place.rglob("*")) == before


def test_track_refuses_it(study: Make, capsys: pytest.CaptureFixture[str]) -> None:
    Store("out", "s").write_study(study().resolved())
    for uri in ("weird://", "", "sqlite:///folder"):
        assert track.main(["s", "--storage", "out", "--uri", uri]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"--uri: {uri}")
        assert error.count("\n") == 1


def test_an_mlflow_database_is_left_as_it_is(uri: str, place: Path) -> None:
    before = Path(uri.removeprefix("sqlite:///")).read_bytes()
    check_address(uri, "tracking.uri")
    assert Path(uri.removeprefix("sqlite:///")).read_bytes() == before
    assert {path.name for path in place.iterdir()} == {"folder", "text.db", "mlflow.db"}
    assert MlflowClient(uri).search_experiments()
