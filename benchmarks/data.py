"""What reading training data costs: PNG decoding, the cache, the memcpy limit; memory of processes that share a cache.

Run on one core, with the frames in the page cache:

    python benchmarks/data.py --camvid ../shared/data/camvid --cityscapes ../shared/data/cityscapes

The Cityscapes frames are linked several times under other names into a folder of its own, so that the cache outgrows
the processor's caches. Every measure is the median of several rounds, the three of a setting taken in turn.
Shapes: B batch, N frames, H W frame, h w crop.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch

from trainable.config import TrialConfig, read_trial
from trainable.data.augment import augmented_batches
from trainable.data.cache import VARIABLE, ensure_cache
from trainable.data.config import Augment, CamVidData, CityscapesData, FileData, Size
from trainable.data.decode import Decoder
from trainable.data.frames import Frames, HeldFrames, load_splits
from trainable.data.layout import pairs
from trainable.data.statistics import train_statistics
from trainable.train.compute import choose_compute
from trainable.train.engine import prepare
from trainable.train.epoch import steps_per_epoch, train_epoch

CPU = torch.device("cpu")
COPIES = 8
"""Links to each Cityscapes frame."""
ROUNDS = 7
PROCESSES = 4


@dataclass(frozen=True)
class Setting:
    """Frames to read, and how."""

    title: str
    data: FileData
    crop: Size
    batch_size: int

    def augment(self) -> Augment:
        """A random crop, nothing at all where the crop is the frame."""
        return Augment(crop=None if self.crop == self.data.size else self.crop)

    def batches(self, images: int) -> list[torch.Tensor]:
        """Frame indices [B] of an epoch in random order."""
        return list(torch.split(torch.randperm(images), self.batch_size))


def main() -> None:
    """Measure and print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, default=Path("../shared/data/camvid"))
    parser.add_argument("--cityscapes", type=Path, default=Path("../shared/data/cityscapes"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[VARIABLE] = f"{folder}/cache"
        camvid = CamVidData(name="camvid", root=str(options.camvid))
        linked = Path(folder, "cityscapes")
        link_frames(options.cityscapes, linked)
        cityscapes = CityscapesData(name="cityscapes", root=str(linked))
        for setting in (
            Setting("CamVid 352x480, whole frames", camvid, camvid.size, 16),
            Setting("Cityscapes 1024x2048, crop 512x1024", cityscapes, (512, 1024), 4),
        ):
            print(f"\n{setting.title}, batches of {setting.batch_size}")
            build(setting.data)
            throughput(setting)
            shared_memory(setting)
        training_step(options.camvid)


def link_frames(source: Path, target: Path) -> None:
    """Make a tree in which every frame of a Cityscapes tree occurs several times, as links."""
    for path in source.glob("*/*/*/*.png"):
        city, rest = path.name.split("_", 1)
        for copy in range(COPIES):
            link = target / path.relative_to(source).parent / f"{city}{copy}_{rest}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())


def build(data: FileData) -> None:
    """Build the cache and say what it took."""
    begun = time.perf_counter()
    path = ensure_cache(data)
    built = time.perf_counter()
    ensure_cache(data)
    found = time.perf_counter()
    size = path.stat().st_size / 1e6
    print(f"  built {size:.0f} MB in {built - begun:.1f} s; found again in {(found - built) * 1e3:.0f} ms")


def throughput(setting: Setting) -> None:
    """Samples per second of the three ways to get a batch."""
    frames, augment = load_splits(setting.data).train, setting.augment()
    decoder, files = Decoder.of(setting.data), pairs(setting.data, "train")
    height, width = setting.data.size
    memory_N4HW = torch.zeros(len(frames), 4, height, width, dtype=torch.uint8)
    crop_pixels = setting.crop[0] * setting.crop[1]

    def decode() -> int:
        shown = range(min(len(files), 12))
        for index in shown:
            decoder.decode(files[index])
        return len(shown)

    def cached() -> int:
        generator = torch.Generator().manual_seed(0)
        return sum(
            len(labels)
            for _, labels in augmented_batches(frames, setting.batches(len(frames)), augment, generator, CPU)
        )

    def copy() -> int:
        batch_B4hw = torch.empty(setting.batch_size, 4 * crop_pixels, dtype=torch.uint8)
        for chosen_B in setting.batches(len(frames)):
            for row, index in enumerate(chosen_B.tolist()):
                batch_B4hw[row] = memory_N4HW[index].flatten()[: 4 * crop_pixels]
        return len(frames)

    ways = {"PNG decoding": decode, "cache": cached, "memcpy": copy}
    rates = rounds(ways)
    for name, rate in rates.items():
        print(f"  {name:14}{rate:10.0f} samples/s  {1e3 / rate:8.3f} ms per sample")
    print(
        f"  the cache is {rates['cache'] / rates['PNG decoding']:.0f} times PNG decoding (goal: 50), "
        f"memcpy {rates['memcpy'] / rates['cache']:.2f} times the cache (goal: at most 2)"
    )


def rounds(ways: dict[str, Callable[[], int]]) -> dict[str, float]:
    """Samples per second of each way, median of several rounds after one that is not counted."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name, way in ways.items():
            begun = time.perf_counter()
            samples = way()
            if turn:
                rates[name].append(samples / (time.perf_counter() - begun))
    return {name: statistics.median(values) for name, values in rates.items()}


def shared_memory(setting: Setting) -> None:
    """Growth of the proportional set size of processes that read one cache at the same time."""
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(1 << 20)  # glibc else keeps 16 MB of freed batches, or not, by chance
    context = get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    pipes = [context.Pipe() for _ in range(PROCESSES)]
    readers = [context.Process(target=read_all, args=(setting, barrier, pipe)) for _, pipe in pipes]
    for reader in readers:
        reader.start()
    growth = max(ours.recv() for ours, _ in pipes)
    for reader in readers:
        reader.join()
    size = ensure_cache(setting.data).stat().st_size
    print(
        f"  {PROCESSES} processes over one cache of {size / 1e6:.0f} MB: PSS grows by at most {growth / 1e6:.1f} MB, "
        f"{100 * growth / size:.1f} % (goal: under 5 %)"
    )


def read_all(setting: Setting, barrier: Barrier, pipe: Connection) -> None:
    """Read every frame of the cache twice; send by how many bytes the process grew.

    Before, it does the same with a few frames in its own memory: what the allocator keeps for batches is no part of the
    cache.
    """
    torch.set_num_threads(1)
    height, width = setting.data.size
    count = 2 * setting.batch_size
    few = HeldFrames(
        *(torch.zeros(count, *shape, dtype=torch.uint8) for shape in ((3, height, width), (height, width)))
    )
    images = len(pairs(setting.data, "train"))
    read(setting, few, images)
    barrier.wait()
    before = proportional_set_size()
    read(setting, load_splits(setting.data).train, images)
    barrier.wait()  # all have read everything, and none has gone
    pipe.send(proportional_set_size() - before)
    barrier.wait()


def read(setting: Setting, frames: Frames, images: int) -> None:
    """Make the batches of two epochs."""
    indices = [chosen_B % len(frames) for _ in range(2) for chosen_B in setting.batches(images)]
    for batch in augmented_batches(frames, indices, setting.augment(), torch.Generator().manual_seed(0), CPU):
        held = batch  # as a training step holds it while the next is made
    del held


def proportional_set_size() -> int:
    """This process's memory in bytes, shared pages counted in proportion."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel gives no Pss")


def training_step(root: Path) -> None:
    """Share of a training step that is spent on data, at the setting of ``search_spaces/camvid.yaml``."""
    tree = {
        "data": {"name": "camvid", "root": str(root), "size": [96, 128], "augment": {"flip": True}},
        "model": {"arch": "fpn", "encoder": "resnet18", "encoder_weights": None},
        "train": {"epochs": 12, "batch_size": 16, "lr": 1e-3},
        "suppression": {"gate_norm": "mean"},
    }
    config = read_trial(tree)
    frames = load_splits(config.data).train
    training = prepare(config, choose_compute("cpu", "auto"), len(frames), train_statistics(config.data))
    train_epoch(training, frames, 1, limit=2)
    begun = time.perf_counter()
    train_epoch(training, frames, 1)
    trained = time.perf_counter()
    steps = steps_per_epoch(len(frames), 16)
    for _ in epoch_of_data(config):
        pass
    loaded = time.perf_counter()
    step, data = ((b - a) / steps for a, b in ((begun, trained), (trained, loaded)))
    print("\nTraining at camvid.yaml's setting (FPN ResNet-18, 96x128, batch 16, with suppression), one thread")
    print(f"  step {step * 1e3:.1f} ms, of which data {data * 1e3:.2f} ms: {100 * data / step:.2f} % (goal: under 5 %)")


def epoch_of_data(config: TrialConfig) -> Iterator[object]:
    """The augmented batches of an epoch."""
    frames = load_splits(config.data).train
    indices = [chosen for chosen in torch.split(torch.randperm(len(frames)), 16) if len(chosen) == 16]
    return augmented_batches(frames, indices, config.data.augment, torch.Generator().manual_seed(0), CPU)


if __name__ == "__main__":
    main()
