"""Objects: whole or not at all, believed by checksum only."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import InputError, StorageError
from orchestrator.store.addresses import absolute, join, storage_errors
from orchestrator.store.objects import DamagedError, Objects


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(str(tmp_path / "s"))


@pytest.mark.parametrize("value", [{}, [], None, 0, "x", {"a": [1.5, None, "é", 1e-300]}, {"b": 1, "a": 2}])
def test_json_comes_back_as_it_was(objects: Objects, value: Any) -> None:
    objects.write_json("a/b.json", value)
    assert objects.read_json("a/b.json") == value


@pytest.mark.parametrize("content", [b"", b"x", os.urandom(100_000)])
def test_binary_comes_back_as_it_was(objects: Objects, content: bytes) -> None:
    objects.write_sealed("a/b.bin", content)
    assert objects.read_sealed("a/b.bin") == content


def test_what_is_not_there_is_none_and_deleting_it_is_nothing(objects: Objects) -> None:
    assert objects.read("a") is None
    assert objects.read_json("a") is None
    assert objects.read_sealed("a") is None
    assert objects.names("a") == []
    assert objects.times("a") == []
    objects.delete("a")


def test_every_truncation_and_every_flipped_byte_is_noticed(objects: Objects, tmp_path: Path) -> None:
    objects.write_sealed("a.bin", bytes(range(64)))
    objects.write_json("a.json", {"epochs": [{"val/miou": 0.25}]})
    for name, read in (("a.bin", objects.read_sealed), ("a.json", objects.read_json)):
        path = tmp_path / "s" / name
        whole = path.read_bytes()
        for index in range(len(whole)):
            for damaged in (whole[:index], whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :]):
                path.write_bytes(damaged)
                if name == "a.json" and _same_value(damaged, whole):  # of white space alone
                    continue
                with pytest.raises(DamagedError, match=name):
                    read(name)
        path.write_bytes(whole)


def _same_value(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def test_a_write_that_fails_leaves_the_old_object_and_no_part(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.write_sealed("a.bin", b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"/s/a\.bin: No space left on device$"):
            objects.write_sealed("a.bin", b"new")
    assert objects.read_sealed("a.bin") == b"old"
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["a.bin"]


def test_a_folder_that_may_not_be_written_is_an_os_error(objects: Objects, tmp_path: Path) -> None:
    objects.write("a.bin", b"old")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"/file/a\.bin: Not a directory$|/file/a\.bin: File exists$"):
        Objects(str(tmp_path / "file")).write("a.bin", b"")
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "s").chmod(0o500)
    try:
        with pytest.raises(StorageError, match="Permission denied"):
            objects.write("a.bin", b"new")
    finally:
        (tmp_path / "s").chmod(0o700)
    assert objects.read("a.bin") == b"old"


def test_addresses() -> None:
    assert join("s3://bucket/x?region=y", "z") == "s3://bucket/x/z?region=y"
    assert join("/a/", "z") == "/a/z"
    assert absolute("s3://bucket/x") == "s3://bucket/x"
    assert absolute("x") == os.path.abspath("x")


def test_only_empty_folders_are_removed(tmp_path: Path) -> None:
    used = Objects(str(tmp_path / "out/s"))
    used.write("a", b"")
    used.remove_if_empty()
    assert used.read("a") == b""
    used.delete("a")
    used.remove_if_empty()
    assert list((tmp_path).iterdir()) in ([], [tmp_path / "out"])


class Refusing:
    """A filesystem that refuses everything, in pyarrow's words."""

    def __init__(self, error: OSError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Callable[..., object]:
        def refuse(*_: object, **__: object) -> object:
            raise self._error

        return refuse


DOORS: dict[str, Callable[[Objects], object]] = {
    "names": lambda objects: objects.names("a"),
    "is_file": lambda objects: objects.is_file("a"),
    "files": lambda objects: objects.files("a"),
    "times": lambda objects: objects.times("a"),
    "read": lambda objects: objects.read("a"),
    "read_json": lambda objects: objects.read_json("a"),
    "read_sealed": lambda objects: objects.read_sealed("a"),
    "write": lambda objects: objects.write("a", b""),
    "write_json": lambda objects: objects.write_json("a", {}),
    "write_sealed": lambda objects: objects.write_sealed("a", b""),
    "delete": lambda objects: objects.delete("a"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ESTALE, "Failed to open '/x'. Detail: [errno 116] Stale file handle"), "Stale file handle"),
        (OSError("When reading 'a': AWS Error ACCESS_DENIED"), "When reading 'a': AWS Error ACCESS_DENIED"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "Permission denied"),
    ],
)
def test_every_door_says_that_it_is_the_storage_and_which_object(
    door: str, error: OSError, reason: str, objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_fs", Refusing(error))
    monkeypatch.setattr(objects, "_local", False)
    with pytest.raises(StorageError) as raised:
        DOORS[door](objects)
    assert str(raised.value) == f"{tmp_path}/s/a: {reason}"


def test_no_secret_of_an_address_is_in_an_error() -> None:
    with pytest.raises(StorageError) as raised:
        Objects("s3://key:hunter2@bucket/x?nonsense=1&secret_key=hunter3")
    assert "hunter" not in str(raised.value)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (StorageError("out/s/study.json: Stale file handle"), "--storage: out/s/study.json: Stale file handle"),
        (PermissionError(13, "Permission denied", "pages"), "--out pages: [Errno 13] Permission denied: 'pages'"),
    ],
)
def test_a_folder_to_write_to_is_not_blamed_for_the_storage(error: OSError, line: str) -> None:
    with pytest.raises(InputError) as raised, storage_errors("--out pages"):
        raise error
    assert str(raised.value) == line
