"""A sampling strategy with a state: classes that were drawn lately wait."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainable.parts import ClassFacts, Sampling
from trainable.suppression.drop import Drop


class Rested(Sampling):
    """Class z with weight 1 - exp(-t_z / patience), t_z the training steps since z was suppressed last."""

    def __init__(self, patience: float = 10.0) -> None:
        self.patience = patience

    def begin(self, facts: ClassFacts) -> None:
        """No class has been suppressed yet."""
        self.steps_C = torch.full((len(facts.names),), 1e6, dtype=torch.float64)

    def weights(self, labels_BHW: Tensor) -> Tensor:
        """Weights [C]."""
        return 1 - torch.exp(-self.steps_C / self.patience)

    def observe(self, logits_BChw: Tensor, labels_BHW: Tensor, drop: Drop | None) -> None:
        """A step has passed."""
        self.steps_C = self.steps_C + 1
        if drop is not None:
            suppressed_C = (drop.keep_GC == 0).any(dim=0).cpu()
            self.steps_C[suppressed_C] = 1

    def state_dict(self) -> dict[str, object]:
        """Steps of each class."""
        return {"steps": self.steps_C}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.steps_C = state["steps"].clone()
