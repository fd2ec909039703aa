"""The cache of decoded frames: what it holds, who builds it, and what becomes of it when things go wrong."""

import errno
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from trees import camvid_tree, cityscapes_tree, folder_tree, png, voc_tree

from trainable.data import build, cache, notes
from trainable.data.cache import cache_folder, cache_path, ensure_cache, open_cache
from trainable.data.config import Augment, CamVidData, FileData, ShapesData
from trainable.data.decode import Decoder
from trainable.data.errors import DataError
from trainable.data.fingerprint import fingerprint
from trainable.data.frames import MappedFrames, load_splits
from trainable.data.layout import pairs
from trainable.data.mapped import is_complete
from trainable.data.notes import data_notes
from trainable.data.statistics import train_statistics

ROOT = Path(__file__).parents[3]
TREES: dict[str, Callable[[Path], FileData]] = {
    "camvid": camvid_tree,
    "cityscapes": cityscapes_tree,
    "voc": voc_tree,
    "folder": folder_tree,
}
BUILD = "import sys; from trainable.data.cache import ensure_cache; from trainable.data.config import CamVidData; "
BUILD += "ensure_cache(CamVidData.model_validate_json(sys.argv[1]))"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DROPCLASS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path / "cache"


@pytest.fixture
def camvid(tmp_path: Path) -> CamVidData:
    return camvid_tree(tmp_path / "camvid")


def builder(data: FileData) -> ForkProcess:
    """A process that builds the cache; forked, because imports would take most of its life."""
    process = get_context("fork").Process(target=ensure_cache, args=(data,))
    process.start()
    return process


def succeeds(process: ForkProcess) -> bool:
    process.join()
    return process.exitcode == 0


def half_made(place: Path) -> list[str]:
    return [path.name for path in place.iterdir() if path.suffix not in (".arrow", ".lock", ".json")]


@pytest.mark.parametrize("name", TREES)
def test_the_cache_holds_the_decoded_frames_and_their_counts(name: str, tmp_path: Path, place: Path) -> None:
    data = TREES[name](tmp_path / name)
    decoder, splits = Decoder.of(data), load_splits(data)
    for split, frames in (("train", splits.train), ("val", splits.val)):
        assert isinstance(frames, MappedFrames)
        found = pairs(data, split)  # type: ignore[arg-type]
        assert len(frames) == len(found)
        ((images, labels),) = frames.batches([torch.arange(len(found))])
        for pair, image, label, counts in zip(found, images, labels, frames.class_pixels(30), strict=True):
            expected_image, expected_label = decoder.decode(pair)
            np.testing.assert_array_equal(image, expected_image)
            np.testing.assert_array_equal(label, expected_label)
            np.testing.assert_array_equal(counts, [(expected_label == c).sum() for c in range(len(counts))])
    assert train_statistics(data).pixels == tuple(splits.train.class_pixels(30).sum(axis=0))
    assert half_made(place) == []


def test_neither_building_nor_reading_imports_torch_or_pandas(camvid: CamVidData) -> None:
    """Arrow's conversions import pandas, 26 MB in every process, where it is installed."""
    code = BUILD + "; from trainable.data.cache import open_cache; from trainable.data.config import CamVidData; "
    code += "open_cache(CamVidData.model_validate_json(sys.argv[1])); print(*sys.modules)"
    call = [sys.executable, "-c", code, camvid.model_dump_json()]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "pandas"}


def test_arrow_reads_the_file_too(camvid: CamVidData) -> None:
    table = pa.ipc.open_file(pa.memory_map(str(ensure_cache(camvid)))).read_all()
    assert table.num_rows == 4
    assert table.column_names == ["image", "label", "class_pixels"]
    image, _ = Decoder.of(camvid).decode(pairs(camvid, "train")[1])
    assert table["image"][1].as_py() == image.ravel().tolist()


def test_frames_are_views_of_the_file(camvid: CamVidData) -> None:
    frames = load_splits(camvid).train
    assert isinstance(frames, MappedFrames)
    begin, size = frames.memory.data_ptr(), frames.memory.numel()
    for image, label in frames.views(torch.tensor([1, 0])):
        assert begin <= image.data_ptr() < label.data_ptr() < begin + size
    expected = frames.memory.clone()
    frames.release(torch.tensor([0, 1]))
    assert torch.equal(frames.memory, expected), "released pages come back"
    assert len(frames.first(1)) == 1
    assert frames.first(1).class_pixels(11).shape == (1, 11)


def test_it_is_built_once(camvid: CamVidData, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ensure_cache(camvid)
    written = path.stat().st_mtime_ns
    monkeypatch.setattr(cache, "write_cache", None)  # whoever builds now fails
    assert ensure_cache(camvid.model_copy(update={"augment": Augment()})) == path
    assert path.stat().st_mtime_ns == written


def test_decoding_processes_give_the_same_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = camvid_tree(tmp_path / "camvid", frames=9)
    alone = list(build.decoded(data, pairs(data, "train")))
    monkeypatch.setattr(build, "FEW_FRAMES", 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    together = list(build.decoded(data, pairs(data, "train")))
    for ours, theirs in zip(alone, together, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours[:2], theirs[:2], strict=True))
    broken = pairs(data, "train")[5].label
    broken.write_bytes(b"nothing")
    with pytest.raises(DataError, match=rf"^{broken}: cannot be decoded"):
        list(build.decoded(data, pairs(data, "train")))


def test_a_decoding_process_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = camvid_tree(tmp_path / "camvid", frames=9)
    monkeypatch.setattr(build, "FEW_FRAMES", 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(build.sys, "executable", "/bin/false")
    with pytest.raises(DataError, match=r"000\.png: the process that decodes it died \(exit code 1\)"):
        list(build.decoded(data, pairs(data, "train")))


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPCLASS_CACHE", "~/there")
    assert cache_folder() == Path.home() / "there"
    monkeypatch.setenv("DROPCLASS_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/xdg")
    assert cache_folder() == Path("/var/xdg/dropclass")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache/dropclass"


def test_the_fingerprint_is_of_the_content(camvid: CamVidData, tmp_path: Path, place: Path) -> None:
    def mark(data: FileData | ShapesData) -> str:
        return fingerprint(data, place)

    first = mark(camvid)
    assert len(first) == 16
    assert mark(camvid) == first
    moved = tmp_path / "moved"
    Path(camvid.root).rename(moved)
    camvid = camvid.model_copy(update={"root": str(moved)})
    assert mark(camvid) == first, "the place does not matter"
    assert mark(camvid.model_copy(update={"augment": Augment(flip=False)})) == first
    assert mark(camvid.model_copy(update={"size": (64, 64)})) != first
    label = pairs(camvid, "train")[0].label
    before = label.read_bytes()
    label.write_bytes(before[:-1] + b"x")  # as many bytes as before
    assert mark(camvid) != first, "a label's bytes matter"
    label.write_bytes(before)
    assert mark(camvid) == first
    pairs(camvid, "val")[0].image.write_bytes(b"more or less")
    assert mark(camvid) != first, "an image's size matters"
    scenes = ShapesData(name="shapes")
    assert mark(scenes) != mark(scenes.model_copy(update={"seed": 1}))
    assert mark(scenes) == mark(scenes.model_copy(update={"augment": Augment(flip=True)}))


def test_the_class_map_is_part_of_the_fingerprint(tmp_path: Path, place: Path) -> None:
    data = folder_tree(tmp_path / "folder")
    first, path = fingerprint(data, place), tmp_path / "folder/classes.yaml"
    text = path.read_text()
    path.write_text(text.replace("thing", "another"))
    renamed = fingerprint(data, place)
    path.write_text(text.replace("[10, 20, 30]", "[9, 9, 9]"))
    assert fingerprint(data, place) == first != renamed


def test_hashes_of_labels_are_remembered(camvid: CamVidData, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fingerprint(camvid, place)
    monkeypatch.setattr("trainable.data.fingerprint._hash", None)  # whoever hashes now fails
    assert fingerprint(camvid, place) == first
    monkeypatch.undo()
    (memory,) = place.glob("labels-*.json")
    memory.write_text("{cut sh")
    assert fingerprint(camvid, place) == first
    assert fingerprint(camvid, Path("/proc/nowhere")) == first, "a cache that cannot be written is no obstacle"


def test_a_changed_source_is_cached_anew(camvid: CamVidData) -> None:
    before = ensure_cache(camvid)
    label = pairs(camvid, "train")[0].label
    png(label, np.full((32, 64), 3))
    after = ensure_cache(camvid)
    assert after != before
    assert open_cache(camvid)["train"].counts[0, 3] == 32 * 64


def test_a_source_that_changes_while_it_is_cached_is_refused(
    camvid: CamVidData, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = cache.write_cache

    def change_and_write(*arguments: object) -> None:
        png(pairs(camvid, "val")[0].label, np.full((32, 64), 3))
        write(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(cache, "write_cache", change_and_write)
        with pytest.raises(DataError, match=r"changed while they were cached; run it again$"):
            ensure_cache(camvid)
    assert half_made(place) == []
    assert is_complete(ensure_cache(camvid))


def test_a_cut_cache_is_built_anew(camvid: CamVidData) -> None:
    path = ensure_cache(camvid)
    whole = path.read_bytes()
    for content in (whole[:-100], b"", b"no arrow at all", bytes(len(whole))):
        path.write_bytes(content)
        assert not is_complete(path)
        assert ensure_cache(camvid).read_bytes() == whole


def test_a_broken_frame_leaves_nothing_and_names_the_file(camvid: CamVidData, place: Path) -> None:
    broken = pairs(camvid, "val")[1].image
    content = broken.read_bytes()
    broken.write_bytes(content[:200])
    with pytest.raises(DataError, match=rf"^{broken}: cannot be decoded"):
        ensure_cache(camvid)
    assert half_made(place) == []
    broken.write_bytes(content)
    assert is_complete(ensure_cache(camvid))


def test_too_little_room_is_told_before_decoding(camvid: CamVidData, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(cache, "write_cache", None)
    with pytest.raises(DataError, match=r"^cache: .* 0 MB free, the frames need .* let DROPCLASS_CACHE name"):
        ensure_cache(camvid)


def test_a_disk_that_fills_up_leaves_nothing(camvid: CamVidData, place: Path) -> None:
    """A limit on the size of files stands for the full disk: the kernel refuses the write that goes beyond it."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    call = [sys.executable, "-c", BUILD, camvid.model_dump_json()]
    done = subprocess.run(call, capture_output=True, text=True, preexec_fn=limit, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert "DataError: cache: " in last
    assert "cannot be written (File too large); make room" in last
    assert half_made(place) == []
    assert is_complete(ensure_cache(camvid))


def test_a_cache_folder_that_cannot_be_made_is_one_line(camvid: CamVidData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPCLASS_CACHE", str(pairs(camvid, "train")[0].image / "below"))
    with pytest.raises(DataError, match=r"^cache: .* cannot be written \(Not a directory\)"):
        ensure_cache(camvid)


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("reader", [open_cache, data_notes])
def test_a_whole_cache_that_cannot_be_opened_is_one_line(
    reader: Callable[[CamVidData], object], number: int, camvid: CamVidData, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ensure_cache(camvid)

    def refuse(_: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cache, "open_mapped", refuse)
    monkeypatch.setattr(notes, "read_remarks", refuse)
    with pytest.raises(DataError) as raised:
        reader(camvid)
    assert str(raised.value).startswith(f"cache: {path} cannot be read ({os.strerror(number)}); ")


def test_a_machine_out_of_processes_is_not_blamed_on_the_folder(
    camvid: CamVidData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(cache, "write_cache", refuse)
    with pytest.raises(DataError, match=r"^cache: the frames cannot be decoded on this machine \(Resource temporarily"):
        ensure_cache(camvid)


def test_a_builder_killed_at_any_moment_leaves_a_next_run_that_succeeds(tmp_path: Path, place: Path) -> None:
    data = camvid_tree(tmp_path / "camvid", frames=30).model_copy(update={"size": (256, 512)})
    start = time.monotonic()
    assert succeeds(builder(data))
    seconds = time.monotonic() - start
    expected = cache_path(data).read_bytes()
    rng = random.Random(0)
    killed_at_work = 0
    for attempt in range(10):
        cache_path(data).unlink(missing_ok=True)
        victim = builder(data)
        time.sleep(seconds * (attempt + rng.random()) / 10)
        victim.kill()
        victim.join()
        killed_at_work += bool(half_made(place))
        assert succeeds(builder(data))
        assert half_made(place) == []
        assert cache_path(data).read_bytes() == expected
    assert killed_at_work >= 2, "some of them were killed while they wrote"


def test_leftovers_of_other_caches_go_with_the_next_build(camvid: CamVidData, place: Path) -> None:
    place.mkdir()
    (place / "camvid-32x32-0123.partial").write_bytes(b"of a builder that was killed")
    ensure_cache(camvid)
    assert half_made(place) == []


def test_two_builders_build_once(tmp_path: Path, place: Path) -> None:
    data = camvid_tree(tmp_path / "camvid", frames=30).model_copy(update={"size": (256, 512)})
    first, second = builder(data), builder(data)
    assert succeeds(first)
    assert succeeds(second)
    assert list(place.glob("*.arrow")) == [cache_path(data)]
    assert half_made(place) == []


NUMPY_MAPS: dict[str, tuple[str, dict[int, int]]] = {
    "camvid": ("trainannot/*.png", {index: index for index in range(11)}),
    "cityscapes": ("gtFine/train/*/*_labelIds.png", {26: 13}),
    "voc": ("VOCdevkit/VOC2012/SegmentationClass/[ab].png", {index: index for index in range(21)}),
    "folder": ("masks/train/**/*.png", {10: 0, 200: 1}),
}
"""Label files of the training split, and train id of each label id."""


@pytest.mark.parametrize("name", TREES)
def test_pixels_per_train_id_by_numpy_alone(name: str, tmp_path: Path) -> None:
    """At sizes at which no frame is resized."""
    data = TREES[name](tmp_path)
    counts_C = open_cache(data)["train"].counts.sum(axis=0)
    pattern, train_ids = NUMPY_MAPS[name]
    expected = np.zeros(len(counts_C), dtype=int)
    labels = list(tmp_path.glob(pattern))
    assert len(labels) == 2
    for path in labels:
        for label_id, count in zip(*np.unique(np.asarray(Image.open(path)), return_counts=True), strict=True):
            if int(label_id) in train_ids:
                expected[train_ids[int(label_id)]] += count
    assert counts_C.tolist() == expected.tolist()
