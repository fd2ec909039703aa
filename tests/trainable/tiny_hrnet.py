"""timm's HRNet with so few channels and blocks that a trial of it runs in a second: ``tu-hrnet_tiny``."""

from typing import Any

from timm.models import hrnet, is_model, register_model

ENCODER = "tu-hrnet_tiny"
CHANNELS = (4, 6, 8, 10)


def _stage(branches: int, block: str = "BASIC") -> dict[str, Any]:
    return {
        "num_modules": 1, "num_branches": branches, "block_type": block, "num_blocks": (1,) * branches,
        "num_channels": CHANNELS[:branches], "fuse_method": "SUM",
    }  # fmt: skip


def hrnet_tiny(pretrained: bool = False, **kwargs: Any) -> Any:
    """The model as timm creates it."""
    stages = {f"stage{k}": _stage(k, "BOTTLENECK" if k == 1 else "BASIC") for k in range(1, 5)}
    return hrnet._create_hrnet("hrnet_w18_small", pretrained, **stages, **kwargs)


if not is_model("hrnet_tiny"):
    register_model(hrnet_tiny)
