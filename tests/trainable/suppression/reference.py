"""DropClass once more, slowly, from METHOD alone: loops over classes, images and pixels, and a changed map A.

Only torch's primitives; nothing here comes from ``trainable``. Nothing is folded into a weight, no path shares work.
The toy network is written twice: as modules for the library, and as functions of its parameters for the reference.
Shapes: B batch, C classes, K channels, h w the feature map, H W image.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

IGNORED = 255
STAGES = (1, 2, 3, 4, 5)
WIDTHS = {1: 4, 2: 5, 3: 7, 4: 6, 5: 8}
DECODED = 6
WITH_BATCH_NORM = (2, 4)
"""Stages with BatchNorm, so that the suppressed path has batch statistics of its own behind the suppressed map."""
CHANNELS_LAST = 3
"""The stage whose module puts the channels last, as transformers do."""

Parameters = Mapping[str, Tensor]


class ToyStage(nn.Module):
    def __init__(self, stage: int) -> None:
        super().__init__()
        self.stage = stage
        self.conv = nn.Conv2d(WIDTHS.get(stage - 1, 3), WIDTHS[stage], 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(WIDTHS[stage]) if stage in WITH_BATCH_NORM else nn.Identity()

    def forward(self, maps_BKhw: Tensor) -> Tensor:
        maps_BKhw = F.relu(self.norm(self.conv(maps_BKhw)))
        return maps_BKhw.permute(0, 2, 3, 1) if self.stage == CHANNELS_LAST else maps_BKhw


class ToyEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleDict({str(stage): ToyStage(stage) for stage in STAGES})

    def forward(self, images_B3HW: Tensor) -> list[Tensor]:
        features = [images_B3HW]
        for name, stage in self.stages.items():
            maps_BKhw = stage(features[-1])
            features.append(maps_BKhw.permute(0, 3, 1, 2) if int(name) == CHANNELS_LAST else maps_BKhw)
        return features


class ToyDecoder(nn.Module):
    """Uses every feature map, at the size of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(sum(WIDTHS.values()), DECODED, 3, padding=1)
        self.norm = nn.BatchNorm2d(DECODED)

    def forward(self, features: list[Tensor]) -> Tensor:
        size = features[1].shape[-2:]
        joined_BKhw = torch.cat([F.interpolate(maps_BKhw, size=size) for maps_BKhw in features[1:]], dim=1)
        return F.relu(self.norm(self.conv(joined_BKhw)))


@dataclass(frozen=True)
class Setting:
    """What is suppressed, where and how; in the words of METHOD."""

    mechanism: str
    layers: tuple[str, ...]
    """In the order of the network."""
    importance: Mapping[str, str]
    """classifier, gradient or auxiliary, of each layer."""
    gate_norm: str = "none"
    q: float = 0.33
    dropped: Sequence[Sequence[int]] | None = None
    """Suppressed classes of each image; None where the step drops nothing."""
    ranks: bool = False
    """Images lie on several ranks, whose losses are averaged: one that drops nothing has a suppression term of 0."""
    seed: int = 0
    """Of the permutation of ``random_channels``."""
    class_weights: Sequence[float] | None = None


@dataclass(frozen=True)
class Terms:
    plain_logits_BChw: Tensor
    suppressed_logits_BChw: Tensor
    plain: Tensor
    suppressed: Tensor
    probability: Tensor | None
    auxiliary: Tensor | None

    def total(self, weight: float, alpha: float) -> Tensor:
        loss = (1 - weight) * self.plain + weight * self.suppressed
        if self.probability is not None:
            loss = loss + alpha * self.probability
        return loss if self.auxiliary is None else loss + self.auxiliary


def two_paths(
    parameters: Parameters, running: Parameters, images_B3HW: Tensor, labels_BHW: Tensor, setting: Setting
) -> Terms:
    """``running`` are the running statistics before the step."""
    plain_maps: dict[str, Tensor] = {}

    def watch(layer: str, maps_BKhw: Tensor) -> Tensor:
        plain_maps[layer] = maps_BKhw
        return maps_BKhw

    plain_BChw = network(parameters, images_B3HW, watch)
    gradients = evaluated_gradients({**parameters, **running}, images_B3HW, setting.layers, plain_maps)
    importance = {
        layer: gradients[layer] if source == "gradient" else weights_of(parameters, source, layer)
        for layer, source in setting.importance.items()
    }

    def suppress(layer: str, maps_BKhw: Tensor) -> Tensor:
        if layer not in setting.layers:
            return maps_BKhw
        changed_BKhw = change(maps_BKhw, importance[layer], setting)
        return conv_norm_relu(parameters, block_name(layer) + ".mix", changed_BKhw)

    suppressed_BChw = network(parameters, images_B3HW, suppress)
    auxiliary = [
        auxiliary_loss(parameters, layer, plain_maps[layer], labels_BHW)
        for layer in setting.layers
        if setting.importance[layer] == "auxiliary"
    ]
    weights, kept = setting.class_weights, [() for _ in images_B3HW]
    return Terms(
        plain_BChw,
        suppressed_BChw,
        cross_entropy(upsample(plain_BChw), labels_BHW, kept, weights),
        cross_entropy(upsample(suppressed_BChw), labels_BHW, setting.dropped or kept, weights),
        None if setting.dropped is None else suppression_term(suppressed_BChw, setting),
        sum(auxiliary[1:], auxiliary[0]) if auxiliary else None,
    )


def prediction(state: Parameters, images_B3HW: Tensor, setting: Setting) -> Tensor:
    """Logits [B,C,H,W] at evaluation: m = 1, statistics and gradient importance as training left them in ``state``."""

    def block(layer: str, maps_BKhw: Tensor) -> Tensor:
        if layer not in setting.layers:
            return maps_BKhw
        if setting.importance[layer] == "gradient":
            importance = [list(row_K) for row_K in state[block_name(layer) + ".running_importance"]]
        else:
            importance = weights_of(state, setting.importance[layer], layer)
        return conv_norm_relu(state, block_name(layer) + ".mix", change(maps_BKhw, importance, setting))

    return upsample(network(state, images_B3HW, block))


def block_name(layer: str) -> str:
    return "blocks." + layer.replace(".", "_")


def network(parameters: Parameters, images_B3HW: Tensor, at: Callable[[str, Tensor], Tensor]) -> Tensor:
    """Logits at the decoder's stride; ``at`` may replace the map of each layer.

    BatchNorm takes the batch's statistics, or the running ones where ``parameters`` has them.
    """
    features = [images_B3HW]
    for stage in STAGES:
        name = f"encoder.stages.{stage}"
        features.append(at(f"encoder.{stage}", conv_norm_relu(parameters, name, features[-1], stride=2, padding=1)))
    size = features[1].shape[-2:]
    joined_BKhw = torch.cat([F.interpolate(maps_BKhw, size=size) for maps_BKhw in features[1:]], dim=1)
    decoded_BKhw = at("decoder", conv_norm_relu(parameters, "decoder", joined_BKhw, padding=1))
    weight_CKkk = parameters["classifier.weight"]
    return F.conv2d(decoded_BKhw, weight_CKkk, parameters["classifier.bias"], padding=weight_CKkk.shape[-1] // 2)


def upsample(logits_BChw: Tensor) -> Tensor:
    return F.interpolate(logits_BChw, scale_factor=2, mode="bilinear", align_corners=True)


def conv_norm_relu(parameters: Parameters, name: str, maps_BKhw: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    mixed_BOhw = F.conv2d(
        maps_BKhw, parameters[f"{name}.conv.weight"], parameters[f"{name}.conv.bias"], stride, padding
    )
    if f"{name}.norm.weight" in parameters:
        channels = []
        for k in range(mixed_BOhw.shape[1]):
            values_Bhw = mixed_BOhw[:, k]
            mean = values_Bhw.mean()
            variance = (values_Bhw - mean).square().mean()
            if f"{name}.norm.running_mean" in parameters:
                mean, variance = (parameters[f"{name}.norm.running_{what}"][k] for what in ("mean", "var"))
            normal_Bhw = (values_Bhw - mean) / (variance + 1e-5).sqrt()
            channels.append(normal_Bhw * parameters[f"{name}.norm.weight"][k] + parameters[f"{name}.norm.bias"][k])
        mixed_BOhw = torch.stack(channels, dim=1)
    return torch.where(mixed_BOhw > 0, mixed_BOhw, 0.0)


def evaluated_gradients(
    state: Parameters, images_B3HW: Tensor, layers: Sequence[str], plain_maps: Mapping[str, Tensor]
) -> dict[str, list[list[Tensor]]]:
    """S by Grad-CAM as rows of scalars, class by class: what comes after the first layer has running statistics."""
    maps: dict[str, Tensor] = {}

    def watch(layer: str, maps_BKhw: Tensor) -> Tensor:
        maps[layer] = maps_BKhw if layers[0] in maps else plain_maps[layer].detach().requires_grad_()
        return maps[layer]

    logits_BChw = network(state, images_B3HW, watch)
    importance: dict[str, list[list[Tensor]]] = {layer: [] for layer in layers}
    for c in range(logits_BChw.shape[1]):
        for layer in layers:
            (gradient_BKhw,) = torch.autograd.grad(logits_BChw[:, c].sum(), maps[layer], retain_graph=True)
            importance[layer].append([gradient_BKhw[:, k].mean() for k in range(gradient_BKhw.shape[1])])
    return importance


def weights_of(parameters: Parameters, source: str, layer: str) -> list[list[Tensor]]:
    name = {"classifier": "classifier.weight", "auxiliary": block_name(layer) + ".auxiliary.weight"}[source]
    return [[weight_kk.mean() for weight_kk in weight_Kkk] for weight_Kkk in parameters[name]]


def change(maps_BKhw: Tensor, importance: list[list[Tensor]], setting: Setting) -> Tensor:
    """The map after the mechanism, image by image."""
    images = []
    for b, maps_Khw in enumerate(maps_BKhw):
        dropped = () if setting.dropped is None else tuple(setting.dropped[b])
        match setting.mechanism:
            case "gate":
                scales = gate(importance, dropped, setting.gate_norm)
                images.append(torch.stack([g * a for g, a in zip(scales, maps_Khw, strict=True)]))
            case "random_channels":
                scales = random_gate(importance, dropped, setting)
                images.append(torch.stack([g * a for g, a in zip(scales, maps_Khw, strict=True)]))
            case "hard":
                masked = most_important(importance, dropped, setting.q)
                images.append(torch.stack([0 * a if k in masked else a for k, a in enumerate(maps_Khw)]))
            case "projection":
                images.append(without_directions(maps_Khw, importance, dropped))
            case other:
                raise AssertionError(other)
    return torch.stack(images)


def gate(importance: list[list[Tensor]], dropped: Sequence[int], norm: str) -> list[Tensor]:
    """g_k = sum_c ReLU(m_c S_ck) / sum_c m_c; ``mean``: divided by its mean over the channels."""
    kept = [row for c, row in enumerate(importance) if c not in dropped]
    scales = [sum(F.relu(row[k]) for row in kept) / len(kept) for k in range(len(importance[0]))]
    return [g / (sum(scales) / len(scales)) for g in scales] if norm == "mean" else scales


def random_gate(importance: list[list[Tensor]], dropped: Sequence[int], setting: Setting) -> list[Tensor]:
    """The gate of m = 1, of which channel k gets the factor g(m)/g(1) of another channel."""
    full = gate(importance, (), setting.gate_norm)
    if setting.dropped is None:
        return full
    changed = gate(importance, dropped, setting.gate_norm)
    factors = [g / f if f > 0 else torch.ones_like(f) for g, f in zip(changed, full, strict=True)]
    order = torch.randperm(len(full), generator=torch.Generator().manual_seed(setting.seed)).tolist()
    return [f * factors[k] for f, k in zip(full, order, strict=True)]


def most_important(importance: list[list[Tensor]], dropped: Sequence[int], q: float) -> set[int]:
    channels = range(len(importance[0]))
    count = max(1, round(q * len(channels)))
    return {k for z in dropped for k in sorted(channels, key=lambda k, z=z: -importance[z][k].item())[:count]}


def without_directions(maps_Khw: Tensor, importance: list[list[Tensor]], dropped: Sequence[int]) -> Tensor:
    """Gram-Schmidt over the dropped classes' rows, then each component is subtracted from every pixel."""
    basis: list[Tensor] = []
    for z in dropped:
        direction_K = torch.stack(importance[z])
        for e_K in basis:
            direction_K = direction_K - (direction_K * e_K).sum() * e_K
        basis.append(direction_K / direction_K.square().sum().sqrt())
    for e_K in basis:
        along_hw = sum(e * a for e, a in zip(e_K, maps_Khw, strict=True))
        maps_Khw = torch.stack([a - e * along_hw for e, a in zip(e_K, maps_Khw, strict=True)])
    return maps_Khw


def cross_entropy(
    logits_BCHW: Tensor, labels_BHW: Tensor, dropped: Sequence[Sequence[int]], weights: Sequence[float] | None
) -> Tensor:
    """Mean over the pixels that count; a loop decides which do, and the formula is applied to all of them at once."""
    places, factors = [], []
    for b, rows in enumerate(labels_BHW.tolist()):
        for i, row in enumerate(rows):
            for j, label in enumerate(row):
                if label == IGNORED or label in dropped[b]:
                    continue
                places.append((b, label, i, j))
                factors.append(1.0 if weights is None else weights[label])
    if not sum(factors):
        return 0 * logits_BCHW.sum()
    b, label, i, j = torch.tensor(places).T
    factor_N = torch.tensor(factors, dtype=logits_BCHW.dtype)
    own_N, all_NC = logits_BCHW[b, label, i, j], logits_BCHW[b, :, i, j]
    return (factor_N * (all_NC.exp().sum(dim=1).log() - own_N)).sum() / sum(factors)


def scalar_cross_entropy(
    logits_BCHW: Tensor, labels_BHW: Tensor, dropped: Sequence[Sequence[int]], weights: Sequence[float] | None
) -> Tensor:
    """The same, one number at a time: too slow for hundreds of cases, it vouches for ``cross_entropy``."""
    total, count = logits_BCHW.new_zeros(()), 0.0
    for b, rows in enumerate(labels_BHW.tolist()):
        for i, row in enumerate(rows):
            for j, label in enumerate(row):
                if label == IGNORED or label in dropped[b]:
                    continue
                scores_C = logits_BCHW[b, :, i, j]
                factor = 1.0 if weights is None else weights[label]
                total = total + factor * (sum(s.exp() for s in scores_C).log() - scores_C[label])
                count += factor
    return total / count


def suppression_term(logits_BChw: Tensor, setting: Setting) -> Tensor:
    """Mean over the images that drop, or over all, of the mean over their classes of the mean probability."""
    per_image = []
    for b, classes in enumerate(setting.dropped or ()):
        sums_hw = logits_BChw[b].exp().sum(dim=0)
        per_class = [(logits_BChw[b, z].exp() / sums_hw).mean() for z in classes]
        if per_class:
            per_image.append(sum(per_class) / len(per_class))
        elif setting.ranks:
            per_image.append(logits_BChw.new_zeros(()))
    return sum(per_image) / len(per_image) if per_image else logits_BChw.new_zeros(())


def auxiliary_loss(parameters: Parameters, layer: str, maps_BKhw: Tensor, labels_BHW: Tensor) -> Tensor:
    name = block_name(layer) + ".auxiliary"
    logits_BChw = F.conv2d(maps_BKhw.detach(), parameters[f"{name}.weight"], parameters[f"{name}.bias"])
    (height, width), (rows, columns) = labels_BHW.shape[-2:], logits_BChw.shape[-2:]
    coarse_Bhw = torch.stack(
        [
            # the label under the centre of each of the map's pixels; a centre on an edge belongs to what follows it
            torch.stack([labels_BHW[:, (2 * i + 1) * height // (2 * rows), (2 * j + 1) * width // (2 * columns)]
                         for j in range(columns)], dim=1)
            for i in range(rows)
        ],
        dim=1,
    )  # fmt: skip
    return cross_entropy(logits_BChw, coarse_Bhw, [() for _ in labels_BHW], None)


# ------------------------------------------------------------------------------------------------------ erasing


def erased_pixels(
    labels_BHW: Tensor, dropped: Sequence[Sequence[int]], erase: Mapping[str, object], seed: int
) -> Tensor:
    """Pixel by pixel, image by image; ``dropped`` are the suppressed classes of each image."""
    own_BHW = np.zeros(labels_BHW.shape, dtype=bool)
    reach, (images, height, width) = int(str(erase.get("dilate", 0))), labels_BHW.shape
    for b, i, j in np.ndindex(*labels_BHW.shape):
        if int(labels_BHW[b, i, j]) in dropped[b]:
            for row in range(max(0, i - reach), min(height, i + reach + 1)):
                for column in range(max(0, j - reach), min(width, j + reach + 1)):
                    own_BHW[b, row, column] = True
    match erase.get("mask", "class"):
        case "class":
            return torch.from_numpy(own_BHW)
        case "elsewhere":
            away = other_image(images, seed)
            return torch.from_numpy(np.stack([own_BHW[(b - away) % images] for b in range(images)]))
        case _:
            return torch.from_numpy(in_blocks(own_BHW, seed))


def other_image(images: int, seed: int) -> int:
    return int(torch.randint(1, images, (), generator=torch.Generator().manual_seed(seed)))


def in_blocks(own_BHW: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]", seed: int) -> "np.ndarray":
    """Take blocks in the order of their draws, and their pixels row by row, until there are as many."""
    images, height, width = own_BHW.shape
    side = min(height, width) // 8
    rows, columns = ceil(height / side), ceil(width / side)
    draws = torch.rand(images, rows * columns, generator=torch.Generator().manual_seed(seed)).numpy()
    taken_BHW = np.zeros_like(own_BHW)
    for b in range(images):
        wanted = int(own_BHW[b].sum())
        for block in np.argsort(draws[b]):
            for i in range(block // columns * side, min(height, (block // columns + 1) * side)):
                for j in range(block % columns * side, min(width, (block % columns + 1) * side)):
                    if wanted:
                        taken_BHW[b, i, j] = True
                        wanted -= 1
    return taken_BHW


def erase_in(
    values_BKhw: Tensor, mask_BHW: Tensor, fill: str, seed: int, deviation: Sequence[float] | None = None
) -> Tensor:
    """Images or maps with what is erased, cell by cell; ``deviation`` of the noise by channel, else their own."""
    (images, channels, height, width), (full_height, full_width) = values_BKhw.shape, mask_BHW.shape[-2:]
    shape, generator = (images, height, width, channels), torch.Generator().manual_seed(seed)
    noise_BKhw = torch.randn(shape, generator=generator, dtype=values_BKhw.dtype).permute(0, 3, 1, 2)
    changed = []
    for b in range(images):
        source = values_BKhw[(b - other_image(images, seed + 1)) % images].detach()
        for k in range(channels):
            plane_hw = values_BKhw[b, k].detach()
            mean = plane_hw.sum() / plane_hw.numel()
            own = ((plane_hw - mean) ** 2).mean().sqrt()
            filled = {
                "mean": torch.full_like(plane_hw, float(mean)),
                "noise": mean + noise_BKhw[b, k] * (own if deviation is None else deviation[k]),
                "blur": thumbnail(plane_hw),
                "swap": source[k],
                "none": plane_hw,
            }[fill]
            cells = []
            for i, j in np.ndindex(height, width):
                top, bottom = i * full_height // height, ceil((i + 1) * full_height / height)
                left, right = j * full_width // width, ceil((j + 1) * full_width / width)
                window = mask_BHW[b, top:bottom, left:right]
                gone = 2 * int(window.sum()) > window.numel() and fill != "none"
                cells.append(filled[i, j] if gone else values_BKhw[b, k, i, j])
            changed.append(torch.stack(cells).view(height, width))
    return torch.stack(changed).view_as(values_BKhw)


def thumbnail(plane_hw: Tensor) -> Tensor:
    """Means of up to 8 x 8 cells, no smaller than two pixels where there are two, enlarged bilinearly by hand."""
    small, (height, width) = plane_hw.numpy(), plane_hw.shape
    for axis, length in ((0, height), (1, width)):
        cells = max(1, min(8, length // 2))
        ends = [(c * length // cells, ceil((c + 1) * length / cells)) for c in range(cells)]
        small = np.stack([small.take(range(*end), axis=axis).mean(axis=axis) for end in ends], axis=axis)
    for axis, length in ((0, height), (1, width)):
        cells = small.shape[axis]
        places = [max(0.0, (p + 0.5) * cells / length - 0.5) for p in range(length)]
        before = [min(int(place), cells - 1) for place in places]
        after = [min(low + 1, cells - 1) for low in before]
        parts = np.array([place - low for place, low in zip(places, before, strict=True)])
        shares = parts[:, None] if axis == 0 else parts[None, :]
        small = small.take(before, axis=axis) * (1 - shares) + small.take(after, axis=axis) * shares
    return torch.from_numpy(small)
