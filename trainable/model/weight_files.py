"""Weights from a file, of an encoder or a whole network: matched by name or order, told by key and shape where not.

An encoder's names may be timm's, smp's or those of a whole network, with any prefix; where they are others, the entries
fit by their order if every shape and every last part of a name agrees (``_bn0.running_mean`` for ``bn1.running_mean``).
"""

import re
from collections.abc import Iterator, Mapping

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from trainable.model.config import WeightsFile, sha256_of
from trainable.model.encoders import ModelError
from trainable.model.fetched import place_of
from trainable.model.run_reference import RUNS

Entries = Mapping[str, Tensor]

WRAPPERS = ("state_dict", "model", "state_dict_ema", "model_state_dict")
"""Under which keys training programs keep a network's state in a checkpoint."""
SORTED = ".safetensors"
"""Such files do not keep the order of their entries."""


def load_encoder(encoder: nn.Module, file: WeightsFile) -> None:
    """Copy the file's weights into the encoder.

    Raises:
        ModelError: no such file, another content than planned, no weights in it, or those of another network.
    """
    try:
        entries = _read(file)
        own = {key: value for key, value in encoder.state_dict().items() if _counts(key)}
        matched = _by_name(own, entries)
        if matched is None:
            matched = _by_order(own, entries, ordered=not file.path.endswith(SORTED))
    except _MisfitError as misfit:
        raise ModelError(f"model.encoder_weights: {file.path}: {misfit}") from misfit
    with torch.no_grad():
        for key, value in own.items():
            value.copy_(matched[key])


def load_network(network: nn.Module, file: WeightsFile) -> None:
    """Copy the weights of an exported plain network, or of a trial's checkpoint, into one of smp's.

    Raises:
        ModelError: no such file, another content than planned, no weights in it, or those of another network.
    """
    try:
        own = {_exported(key): value for key, value in network.state_dict().items() if _counts(key)}
        entries = {_exported(key): value for key, value in _read(file).items()}
        _check_whole(own, entries)
    except _MisfitError as misfit:
        raise ModelError(f"model.weights: {file.path}: {misfit}") from misfit
    with torch.no_grad():
        for key, value in own.items():
            value.copy_(entries[key])


def _exported(key: str) -> str:
    """The key as the training network has it, of whichever form of the same network."""
    for ours, theirs in (("classifier.", "segmentation_head.0."), ("decoder.", "decoder.decoder.")):
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


def _check_whole(own: Entries, entries: Entries) -> None:
    foreign = [key for key in entries if key not in own]
    if any(key.startswith(("blocks.", "segmentation_head.2.")) for key in foreign):
        raise _MisfitError("is of a network with a suppression block; export one that was trained without")
    missing = [key for key in own if key not in entries]
    if missing:
        raise _MisfitError(f"has no {_entry(missing[0], own)}{_more(missing)}")
    wrong = [key for key in own if entries[key].shape != own[key].shape]
    if wrong:
        raise _MisfitError(
            f"has {_entry(wrong[0], entries)} where the network has {_entry(wrong[0], own)}{_more(wrong)}"
        )
    if foreign:
        raise _MisfitError(f"is of another network: it has {_entry(foreign[0], entries)} besides{_more(foreign)}")


class _MisfitError(ValueError):
    """What is wrong with a file."""


def _read(file: WeightsFile) -> Entries:
    path = place_of(file)
    try:
        if sha256_of(path) != file.sha256:
            raise _MisfitError("its content is not that with which the trial was planned")
    except OSError as error:
        raise _MisfitError(_unreadable(file, error)) from error
    try:
        state: object = load_file(path) if path.suffix == SORTED else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise any type for what is none of their files
        raise _MisfitError("damaged, or no weights alone (a pickled network is not read: it could run code)") from error
    entries = _entries(state)
    if not entries:
        raise _MisfitError("holds no weights by name")
    return entries


def _unreadable(file: WeightsFile, error: OSError) -> str:
    if file.path.startswith(RUNS):
        return f"not on this machine ({place_of(file)}); name the copy of it in the folder weights of the study instead"
    return error.strerror or "cannot be read"


def _entries(state: object) -> Entries:
    """A network's weights by name, also where a training program keeps them beside others; else none."""
    if not isinstance(state, dict):
        return {}
    inner = next((state[key] for key in WRAPPERS if isinstance(state.get(key), dict)), state)
    return {str(key): value for key, value in inner.items() if isinstance(value, Tensor) and _counts(str(key))}


def _counts(key: str) -> bool:
    """Whether an entry is one of weights: counters of batches are left as they are."""
    return not key.endswith("num_batches_tracked")


def _by_name(own: Entries, entries: Entries) -> Entries | None:
    """The file's entry for each of the encoder's; None where less than half of the names are known."""
    wanted = {_canonical(key.removeprefix("model.")): key for key in own}
    prefix = max(_prefixes(entries), key=lambda start: len(_below(entries, start).keys() & wanted.keys()))
    named = _below(entries, prefix)
    if 2 * len(named.keys() & wanted.keys()) < len(wanted):
        return None
    missing = [key for name, key in wanted.items() if name not in named]
    if missing:
        raise _MisfitError(f"has no {_entry(missing[0], own)}{_more(missing)}")
    wrong = [(key, named[name]) for name, key in wanted.items() if entries[named[name]].shape != own[key].shape]
    if wrong:
        key, other = wrong[0]
        raise _MisfitError(f"has {_entry(other, entries)} where the encoder has {_entry(key, own)}{_more(wrong)}")
    parts = {_first_part(name) for name in wanted}  # a part that the encoder lacks is a classification head
    foreign = [key for name, key in named.items() if name not in wanted and _first_part(name) in parts]
    if foreign:
        raise _MisfitError(f"is of another encoder: it has {_entry(foreign[0], entries)} besides{_more(foreign)}")
    return {key: entries[named[name]] for name, key in wanted.items()}


def _by_order(own: Entries, entries: Entries, *, ordered: bool) -> Entries:
    """The encoder's entries are the first ones of the file; what follows is a classification head."""
    if not ordered:
        raise _MisfitError(f"is of another network: it has other names, as {_entry(next(iter(entries)), entries)}")
    for key, other in zip(own, entries, strict=False):
        same_name = key.rpartition(".")[2] == other.rpartition(".")[2]
        if not same_name or own[key].shape != entries[other].shape:
            rule = f"by order {_entry(other, entries)} stands for {_entry(key, own)}"
            raise _MisfitError(f"is of another network: it has other names, and {rule}")
    if len(entries) < len(own):
        raise _MisfitError(f"is of another network: {len(entries)} entries, and the encoder has {len(own)}")
    return dict(zip(own, entries.values(), strict=False))


def _prefixes(entries: Entries) -> Iterator[str]:
    """Whatever may stand before the encoder's names: the beginnings of all keys, and nothing."""
    yield from dict.fromkeys(["", *(key[: dot.end()] for key in entries for dot in re.finditer(r"\.", key))])


def _below(entries: Entries, prefix: str) -> dict[str, str]:
    return {_canonical(key.removeprefix(prefix)): key for key in entries if key.startswith(prefix)}


def _canonical(name: str) -> str:
    """The name as timm's networks write it: its feature extractors write ``stages_0`` for ``stages.0``."""
    return re.sub(r"_(?=\d+\.)", ".", name)


def _first_part(name: str) -> str:
    return name.partition(".")[0]


def _entry(key: str, entries: Entries) -> str:
    return f"'{key}' {list(entries[key].shape)}"


def _more(entries: list[str] | list[tuple[str, str]]) -> str:
    return f", and {len(entries) - 1} more" if len(entries) > 1 else ""
