"""Where an encoder makes each of its feature maps, and how to run the rest of it again from a changed map.

smp's encoders share no common structure: some are chains of named stages, some loops over blocks, some whole timm
models. What they share is that a feature map is the output of a module. ``find_tap`` watches one forward pass and finds
the module that makes feature ``i`` (the producer) and the calls that are over before it begins. A plain pass then
``record``s the outputs of those calls; ``rerun`` runs the encoder's own forward again in which they return what they
returned before, the producer returns the changed map, and only what follows is computed.

Shapes: B batch, K channels, h w the feature map, H W image.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Edit = Callable[[Tensor], Tensor]
"""Changes a feature map [B,K,h,w], keeping its shape."""

PROBE_SIZES = (64, 128, 224, 256)
"""Heights and widths that a probe pass tries, smallest first: some encoders ask for more pixels, or for one size."""


class TapError(ValueError):
    """The encoder has no such feature map, or does not run on it; one line with the reason."""


@dataclass(frozen=True)
class Tap:
    """The place in an encoder where a feature map is made."""

    stage: int
    """Index of the feature map in the encoder's output."""
    producer: str
    """Name of the module whose output it is."""
    channels_last: bool
    """Whether that output is [B,h,w,K]."""
    before: tuple[str, ...]
    """Outermost module calls that are over when the producer begins, in order."""
    after: frozenset[str]
    """Modules that run once the producer is done."""


@dataclass
class Tape:
    """What a plain pass leaves for a rerun."""

    outputs: list[Any] = field(default_factory=list)
    """Output of each call in ``Tap.before``."""
    produced: dict[Tap, Tensor] = field(default_factory=dict)
    """Output of each tap's producer, as the encoder lays it out."""

    def map(self, tap: Tap) -> Tensor:
        """The feature map [B,K,h,w]."""
        return _to_map(self.produced[tap], tap)


def record(encoder: nn.Module, tap: Tap, images_B3HW: Tensor, later: Collection[Tap] = ()) -> tuple[list[Tensor], Tape]:
    """Features of a plain pass, and the tape for a ``rerun`` from ``tap``, which also keeps the maps of later taps."""
    tape = Tape()
    calls, inside = iter(tap.before), False
    expected = next(calls, None)

    def watch(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal inside, expected
            if inside or tape.produced:  # nested in a call of the tape, or a module that runs again later
                return forward(*args, **kwargs)
            inside = True
            output = forward(*args, **kwargs)
            inside = False
            if name == expected:
                tape.outputs.append(output)
                expected = next(calls, None)
            elif expected is None and name == tap.producer:
                tape.produced[tap] = output
            else:
                raise RuntimeError(f"the encoder called {name} where it called {expected or tap.producer} before")
            return output

        return call

    def keeping(tap: Tap) -> Edit:
        def keep(maps_BKhw: Tensor) -> Tensor:
            tape.produced[tap] = _from_map(maps_BKhw, tap)
            return _to_map(tape.produced[tap], tap)  # the network goes on from what the tape holds: it has a gradient

        return keep

    with _replaced(encoder, dict.fromkeys((*tap.before, tap.producer), watch)):
        return run(encoder, images_B3HW, {tap: keeping(tap) for tap in later}), tape


def rerun(
    encoder: nn.Module, tap: Tap, tape: Tape, images_B3HW: Tensor, changed_BKhw: Tensor, later: Mapping[Tap, Edit]
) -> list[Tensor]:
    """Features of a pass in which the producer returned ``changed_BKhw``; what came before it is not computed again.

    The tape is ``record``'s of the same images, which encoders return as their first feature; ``later`` edits maps that
    come after the tap's.
    """
    outputs, begun = iter(zip(tap.before, tape.outputs, strict=True)), False

    def replay(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal begun
            if begun:
                return forward(*args, **kwargs)
            recorded = next(outputs, None)
            if recorded is None and name == tap.producer:
                begun = True
                return _from_map(changed_BKhw, tap)
            if recorded is None or recorded[0] != name:
                raise RuntimeError(f"the encoder called {name} out of the order of its first pass")
            return recorded[1]

        return call

    with _replaced(encoder, dict.fromkeys((*tap.before, tap.producer), replay)):
        return run(encoder, images_B3HW, later)


def run(encoder: nn.Module, images_B3HW: Tensor, edits: Mapping[Tap, Edit]) -> list[Tensor]:
    """Features of one pass in which every tapped map is edited where it is made."""

    def editing(tap: Tap) -> "Wrapper":
        def wrap(_: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                return _from_map(edits[tap](_to_map(forward(*args, **kwargs), tap)), tap)

            return call

        return wrap

    with _replaced(encoder, {tap.producer: editing(tap) for tap in edits}):
        features: list[Tensor] = encoder(images_B3HW)
        return features


Wrapper = Callable[[str, Callable[..., Any]], Callable[..., Any]]


@contextmanager
def _replaced(encoder: nn.Module, wrappers: Mapping[str, Wrapper]) -> Iterator[None]:
    """Wrap the ``forward`` of modules for a while; wraps on top of each other come off in reverse order."""
    modules = {name: encoder.get_submodule(name) for name in wrappers}
    before: dict[str, Any] = {name: module.__dict__.get("forward") for name, module in modules.items()}
    for name, module in modules.items():
        module.forward = wrappers[name](name, module.forward)
    try:
        yield
    finally:
        for name, module in modules.items():
            if before[name] is None:
                del module.forward
            else:
                module.forward = before[name]


def _to_map(produced: Tensor, tap: Tap) -> Tensor:
    return produced.permute(0, 3, 1, 2) if tap.channels_last else produced


def _from_map(maps_BKhw: Tensor, tap: Tap) -> Tensor:
    return maps_BKhw.permute(0, 2, 3, 1) if tap.channels_last else maps_BKhw


@dataclass
class _Call:
    name: str
    parent: "_Call | None"
    begin: int
    end: int = -1
    output: Any = None

    def ancestors(self) -> "Iterator[_Call]":
        call = self.parent
        while call is not None:
            yield call
            call = call.parent


def find_tap(encoder: nn.Module, stage: int) -> Tap:
    """The place where the encoder makes feature ``stage``; leaves weights, statistics and random state as they are.

    Raises:
        TapError: no such feature map, a map without channels, one that is no module's output, or one on which the rest
            of the encoder does not run.
    """
    training = encoder.training
    encoder.eval()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            images_B3HW, features, calls = _watched(encoder)
            _check_stage(features, stage)
            for tap in _candidates(calls, features, stage):
                if _acts(encoder, tap, images_B3HW, features):
                    return tap
    finally:
        encoder.train(training)
    raise TapError("the encoder does not run on this map alone: it branches off, or later stages take other ones too")


def _check_stage(features: list[Tensor], stage: int) -> None:
    real = [i for i in range(1, len(features)) if features[i].shape[1] > 0]
    if stage not in real:
        raise TapError(f"the encoder has no such map; it has {', '.join(f'encoder.{i}' for i in real)}")


def _watched(encoder: nn.Module) -> tuple[Tensor, list[Tensor], list[_Call]]:
    """A probe pass: images, features, and all module calls with copies of their outputs, in order of completion."""
    parameter = next(encoder.parameters())
    for size in PROBE_SIZES:
        images_B3HW = torch.rand(1, 3, size, size, device=parameter.device, dtype=parameter.dtype)
        calls: list[_Call] = []
        try:
            return images_B3HW, _features_and_calls(encoder, images_B3HW, calls), calls
        except (RuntimeError, ValueError, AssertionError):
            if size == PROBE_SIZES[-1]:
                raise
    raise AssertionError("unreachable")


def _features_and_calls(encoder: nn.Module, images_B3HW: Tensor, calls: list[_Call]) -> list[Tensor]:
    stack: list[_Call] = []
    clock = iter(range(10**9))

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: stack.append(_Call(name, stack[-1] if stack else None, next(clock)))

    def leave(_: nn.Module, __: Any, output: Any) -> None:
        call = stack.pop()
        call.end = next(clock)
        if isinstance(output, Tensor) and output.ndim == 4:
            call.output = output.clone()  # later modules may work in place
        calls.append(call)

    handles = []
    for name, module in encoder.named_modules():
        if name:
            handles += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave)]
    try:
        return list(encoder(images_B3HW))
    finally:
        for handle in handles:
            handle.remove()


def _candidates(calls: list[_Call], features: list[Tensor], stage: int) -> Iterator[Tap]:
    """Calls whose output is the feature map; the last, which is the outermost, first."""
    for call in reversed(calls):
        if call.output is None:
            continue
        channels_last = call.output.shape != features[stage].shape
        output = call.output.permute(0, 3, 1, 2) if channels_last else call.output
        if output.shape == features[stage].shape and torch.equal(output, features[stage]):
            ancestors = list(call.ancestors())
            before = [
                other
                for other in sorted(calls, key=lambda c: c.begin)
                if other.end < call.begin and all(parent in ancestors for parent in other.ancestors())
            ]
            after = frozenset(other.name for other in calls if other.begin > call.end)
            yield Tap(stage, call.name, channels_last, tuple(other.name for other in before), after)


def _acts(encoder: nn.Module, tap: Tap, images_B3HW: Tensor, features: list[Tensor]) -> bool:
    """Whether a change of the map changes it and all later features, no earlier one, and reruns equal whole passes."""

    def double(maps_BKhw: Tensor) -> Tensor:
        return 2 * maps_BKhw + 1

    changed = run(encoder, images_B3HW, {tap: double})
    try:
        _, tape = record(encoder, tap, images_B3HW)
        again = rerun(encoder, tap, tape, images_B3HW, double(tape.map(tap)), {})
    except RuntimeError:  # calls that cannot be told apart
        return False
    moved = [not torch.equal(a, b) for a, b in zip(features, changed, strict=True)]
    return (
        moved == [i >= tap.stage for i in range(len(features))]
        and torch.equal(changed[tap.stage], double(features[tap.stage]))
        and all(torch.equal(a, b) for a, b in zip(changed, again, strict=True))
    )
