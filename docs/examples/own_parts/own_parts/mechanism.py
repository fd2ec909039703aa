"""A mechanism: channels fade by the share that the suppressed classes have in their importance."""

from torch import Tensor

from trainable.parts import Mechanism


class Fade(Mechanism):
    """Channel k times 1 - strength * r_k, r_k the suppressed classes' share of the channel's positive importance."""

    def __init__(self, strength: float = 1.0) -> None:
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must lie in [0, 1], got {strength:g}")
        self.strength = strength

    def channels(self, importance_CK: Tensor, keep_GC: Tensor | None, seed: int) -> Tensor:
        """Factors [G,K]; 1 where every class is kept."""
        positive_CK = importance_CK.relu()
        total_1K = positive_CK.sum(dim=0, keepdim=True).clamp_min(1e-12)
        if keep_GC is None:
            return positive_CK.new_ones(1, positive_CK.shape[1])
        return 1 - self.strength * ((1 - keep_GC) @ positive_CK) / total_1K
