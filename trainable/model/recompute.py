"""Activation checkpointing: blocks of a network whose activations are computed again in the backward pass.

The result is exactly that of keeping them: random numbers are drawn from the same state, running statistics move once,
and gradients are summed in the same order, because the graph is the same one and only its saved tensors are made late.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from trainable.model.segmenter import Segmenter

BLOCK_HEIGHT = 2
"""Levels of modules in a block: residual, inverted and attention blocks of all encoders have no more."""


def recompute_blocks(model: Segmenter) -> int:
    """Let the blocks of encoder and decoder compute their activations again; returns how many there are.

    A block in which a suppressed map is made keeps its activations: what changes the map is gone in a backward pass.
    """
    tapped = {name for tap in model.taps.values() for name in (tap.producer, *tap.before)}
    whole = [*_blocks(model.encoder, "", tapped), *_blocks(model.decoder, "", ())]
    for block in whole:
        block.forward = partial(_again_in_backward, block, block.forward)
    return len(whole)


def _blocks(parent: nn.Module, path: str, tapped: Collection[str]) -> Iterator[nn.Module]:
    """The largest blocks below a module; a single layer keeps its input in any case."""
    for name, child in parent.named_children():
        here = f"{path}{name}"
        if _height(child) == 0:
            continue
        split = _height(child) > BLOCK_HEIGHT or isinstance(child, nn.ModuleList | nn.ModuleDict)
        if split or any(inner.startswith(f"{here}.") for inner in tapped):
            yield from _blocks(child, f"{here}.", tapped)
        else:
            yield child


def _height(module: nn.Module) -> int:
    return max((1 + _height(child) for child in module.children()), default=0)


def _again_in_backward(block: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a block, and keep no activation of it where a training step needs its gradient."""
    if not (block.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _buffers_kept(block)

    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


@contextmanager
def _buffers_kept(block: nn.Module) -> Iterator[None]:
    """Let a second computation move copies of a block's buffers: running statistics have seen the batch already."""
    before = [
        (module, name, buffer)
        for module in block.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    for module, name, buffer in before:
        module._buffers[name] = buffer.clone()
    try:
        yield
    finally:
        for module, name, buffer in before:
            module._buffers[name] = buffer
