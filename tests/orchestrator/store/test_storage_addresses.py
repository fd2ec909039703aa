"""``--storage``: the place that is meant, or one line that says how it is written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.status import main
from orchestrator.store.addresses import join, storage_address
from orchestrator.store.records import Store, open_study


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("", "it is empty; name a folder, such as studies"),
        (" ", "it is empty; name a folder, such as studies"),
        ("s3:/b", "an address is written s3://BUCKET/FOLDER (a folder of this name ./s3:/b)"),
        ("S3:b/x", "an address is written s3://BUCKET/FOLDER (a folder of this name ./S3:b/x)"),
        ("gs:/", "an address is written gs://BUCKET/FOLDER (a folder of this name ./gs:/)"),
        ("file:/x", "an address is written file:///FOLDER (a folder of this name ./file:/x)"),
        ("s3://", "an address is written s3://BUCKET/FOLDER, got nothing after //"),
        ("s3:///b", "an address is written s3://BUCKET/FOLDER, got nothing after //"),
        ("s3://?region=x", "an address is written s3://BUCKET/FOLDER, got nothing after //"),
        ("hdfs:///x", "an address is written hdfs://HOST:PORT/FOLDER, got nothing after //"),
        ("file://host/x", "an address is written file:///FOLDER, got a host"),
        ("file:///x?y", "# and ? stand for themselves only as %23 and %3F in an address"),
        ("gs://b/x#y", "# and ? stand for themselves only as %23 and %3F in an address"),
        ("mock://x", "Unrecognized filesystem 'mock'; one of file, s3, gs, gcs, hdfs, viewfs, abfs, abfss"),
        ("HTTPS://h/x", "Unrecognized filesystem 'https'; one of file, s3, gs, gcs, hdfs, viewfs, abfs, abfss"),
        ("~nosuchuser/x", "there is no such home folder; write the path from / on"),
    ],
)
def test_an_address_that_means_another_place_is_one_line(
    storage: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        open_study(storage, "s")
    assert str(caught.value) == f"--storage {storage}: {message}"
    assert main(["s", "--storage", storage]) == 2
    assert capsys.readouterr().err == f"--storage {storage}: {message}\n"
    assert not os.listdir(tmp_path)


def test_a_scheme_in_capitals_is_read() -> None:
    assert storage_address("S3://Bucket/X?region=y") == "s3://Bucket/X?region=y"
    assert storage_address("FILE:///x") == "file:///x"


@pytest.mark.parametrize("name", ["x?y", "x#y", "a:b", "x%20y", "x y", "ü"])
def test_a_local_folder_may_have_any_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(name, "s")
    store.objects.write("a", b"b")
    assert (tmp_path / name / "s/a").read_bytes() == b"b"
    assert store.uri == join(store.storage, "s") == f"{tmp_path}/{name}/s"


READ = """
from orchestrator.store.objects import Objects
try:
    Objects("abfs://c@127.0.0.1:1/c/x").read("a")
except OSError as error:
    print(f"refused: {error}")
"""


def test_azure_without_credentials_is_refused_before_it_aborts_the_process() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AZURE")}
    done = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused: ")
    with pytest.raises(InputError, match=r"an address is written abfs://ACCOUNT\.blob\.core\.windows\.net/CONTAINER"):
        open_study("abfs://c/p", "s")
