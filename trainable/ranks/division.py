"""Which batches ranks can share: each takes as many images of a batch, and of its micro-batches. Imports no torch."""

from dataclasses import dataclass

from trainable.configfile.mistakes import RuleError

BATCH_SIZE, ACCUMULATE = "train.batch_size", "train.accumulate"
"""Where a trial's configuration says them: images of all ranks together, and their micro-batches."""


class SharesError(RuleError):
    """Ranks cannot share the batches of a trial, whatever machine they are on."""


@dataclass(frozen=True)
class Shares:
    """What ranks can share."""

    ranks: int
    option: str = ""
    """What asked for them; for messages."""

    def problem(self, batch_size: int, accumulate: int = 1, images: int | None = None) -> SharesError | None:
        """Why they cannot share the batches, and what they could; None where they can.

        Args:
            batch_size: images of a step, of all ranks together.
            accumulate: micro-batches of a step.
            images: of the training split, which is one batch where it holds fewer; None: not known.
        """
        if batch_size % self.ranks:
            return self._refusal(_undivided(batch_size, self.ranks, "ranks"), BATCH_SIZE)
        if batch_size % accumulate:
            return SharesError(f"must divide {BATCH_SIZE} ({batch_size}), got {accumulate}", ACCUMULATE)
        if batch_size % (self.ranks * accumulate):
            what = f"ranks x {accumulate} micro-batches"
            return self._refusal(_undivided(batch_size, self.ranks, what, accumulate), ACCUMULATE)
        if images is not None and images < batch_size and images % self.ranks:
            message = f"all {images} training images are one batch, which {self.ranks} ranks cannot share equally"
            return self._refusal(f"{message}; use fewer ranks or a smaller batch", BATCH_SIZE)
        return None

    def _refusal(self, message: str, path: str) -> SharesError:
        return SharesError(f"{message} ({self.option})" if self.option else message, path)


def _undivided(batch_size: int, ranks: int, what: str, accumulate: int = 1) -> str:
    shares = ranks * accumulate
    low = batch_size // shares * shares
    near = f"{low} or {low + shares}" if low else f"{shares}"
    return f"a batch of {batch_size} is not divided by {ranks} {what}; {near} would be"
