"""Which batches ranks can share: each takes as many of a batch's images. Imports no torch."""

BATCH_SIZE = "train.batch_size"
"""Where a trial's configuration says it: of all ranks together."""


def indivisible(batch_size: int, ranks: int) -> str | None:
    """Why ranks cannot share a batch, and what they could; None where they can."""
    if batch_size % ranks == 0:
        return None
    low = batch_size // ranks * ranks
    near = f"{low} or {low + ranks}" if low else f"{ranks}"
    return f"a batch of {batch_size} is not divided by {ranks} ranks; {near} would be"
