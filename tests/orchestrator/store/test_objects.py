"""Objects: whole or not at all, believed by checksum only."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.store.addresses import absolute, join
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
        with pytest.raises(OSError, match="No space left"):
            objects.write_sealed("a.bin", b"new")
    assert objects.read_sealed("a.bin") == b"old"
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["a.bin"]


def test_a_folder_that_may_not_be_written_is_an_os_error(objects: Objects, tmp_path: Path) -> None:
    objects.write("a.bin", b"old")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Objects(str(tmp_path / "file")).write("a.bin", b"")
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "s").chmod(0o500)
    try:
        with pytest.raises(PermissionError):
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
