"""Independent random streams of a trial, each derived from its seed, the stream's name and the epoch.

A stream begins anew in every epoch, so an epoch depends on the seed and its number alone: not on what ran in the
process before, and not on how many numbers earlier epochs drew.
"""

from typing import Literal, get_args

import numpy as np
import torch

Stream = Literal["weights", "order", "augment", "suppression", "layers", "recalibration"]
"""weights: initial weights; order: order of the images; layers: dropout and the like inside the network; recalibration:
which images. A new stream goes to the end: a stream's place is a part of its seed."""


def stream_seed(seed: int, stream: Stream, epoch: int = 0, rank: int = 0) -> int:
    """64-bit seed of a stream in an epoch; any integer ``seed``, negative ones too.

    ``rank`` is 0 but for what each rank of a trial draws for its own images.
    """
    entropy = (seed % 2**64, get_args(Stream).index(stream), epoch, *([rank] if rank else []))
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


def generator(seed: int, stream: Stream, epoch: int) -> torch.Generator:
    """CPU generator of a stream in an epoch."""
    return torch.Generator().manual_seed(stream_seed(seed, stream, epoch))


def seed_torch(seed: int, stream: Stream, epoch: int = 0, rank: int = 0) -> None:
    """Seed torch's global generators, which initialisation and dropout use."""
    torch.manual_seed(stream_seed(seed, stream, epoch, rank))
