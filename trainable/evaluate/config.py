"""The ``evaluation`` section: how predictions are made that are scored. Imports no torch."""

from typing import Annotated

from pydantic import Field

from trainable.data.config import Factor, Size
from trainable.section import Section


class Evaluation(Section):
    """How the evaluation predicts: by default every frame once and whole, in the scale of ``data.size``."""

    window: Size | None = None
    """(height, width) of a window that slides over the frame, for networks that saw crops of that size in training or
    frames too large for the memory; null predicts the frame whole."""
    overlap: Annotated[float, Field(ge=0, le=0.95)] = 1 / 3
    """Smallest share of a window that the next one covers too; where windows overlap their scores are averaged.
    At 0.95 a pixel is predicted 400 times."""
    flip: bool = False
    """Average with the prediction of the mirrored frame."""
    scales: Annotated[tuple[Factor, ...], Field(min_length=1, max_length=32)] = (1.0,)
    """Scales at which the frame is predicted; their probabilities are averaged."""
    test_at_end: bool = False
    """Score the labelled test split too (CamVid's), once, after the last epoch: test/miou and the like. The confirm
    stage of a study turns it on where there is such a split; a search must not see it."""

    @property
    def averages(self) -> bool:
        """Whether a frame is predicted more than once."""
        return self.flip or self.scales != (1.0,)
