"""What plain training and a study's winner make of the built-in scenes whose ground helps, misleads or is hidden.

Both trials are trained again, alone: on a CPU they are the study's, bit for bit.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont

from trainable.config import TrialConfig
from trainable.data.classes import IGNORE_INDEX, class_map
from trainable.data.shapes import Context, make_scenes
from trainable.evaluate.predict import frame_logits
from trainable.train.engine import EpochResult, fit

Bytes = npt.NDArray[np.uint8]
CONTEXTS: dict[Context, str] = {
    "aligned": "ground as in training",
    "swapped": "ground swapped",
    "masked": "ground hidden",
}
SCENES = 2
TILE, GAP, LEFT, TOP = 128, 6, 108, 44
IGNORED = (235, 235, 235)
INK = (31, 41, 51)


def predictions_picture(trials: Mapping[str, Mapping[str, object]], target: Path) -> None:
    """Write the picture.

    Args:
        trials: The configurations of two or more trials of a study by what they are called.
        target: The PNG.
    """
    networks = {name: _trained(config) for name, config in trials.items()}
    config = next(iter(networks.values())).training.config
    assert config.data.name == "shapes", "pictures of predictions are drawn of the built-in scenes"
    rows = ["image", "truth", *networks]
    columns = [(context, scene) for context in CONTEXTS for scene in range(SCENES)]
    width = LEFT + len(columns) * (TILE + GAP) + (len(CONTEXTS) - 1) * 2 * GAP
    page = Image.new("RGB", (width, TOP + len(rows) * (TILE + GAP)), "white")
    draw = ImageDraw.Draw(page)
    for number, row in enumerate(rows):
        draw.text((LEFT - 10, TOP + number * (TILE + GAP) + TILE // 2), row, INK, _font(15), anchor="rm")
    colours = _colours(config)
    for place, (context, scene) in enumerate(columns):
        left = LEFT + place * (TILE + GAP) + place // SCENES * 2 * GAP
        if scene == 0:
            middle = left + (SCENES * TILE + GAP) / 2
            draw.text((middle, TOP // 2), CONTEXTS[context], INK, _font(15), anchor="mm")
        image, truth = _scene(config, context, scene)
        tiles = [image.transpose(1, 2, 0), colours[truth]]
        predictions = [_prediction(network, image) for network in networks.values()]
        tiles += [colours[np.where(truth == IGNORE_INDEX, truth, each)] for each in predictions]  # what is scored
        for number, tile in enumerate(tiles):
            picture = Image.fromarray(np.ascontiguousarray(tile)).resize((TILE, TILE), Image.Resampling.NEAREST)
            page.paste(picture, (left, TOP + number * (TILE + GAP)))
    page.quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)


def _trained(tree: Mapping[str, object]) -> EpochResult:
    """The last epoch's result; its network is the trained one."""
    *_, last = fit(TrialConfig.model_validate(tree), device="cpu", threads=1)
    return last


def _scene(config: TrialConfig, context: Context, scene: int) -> tuple[Bytes, Bytes]:
    assert config.data.name == "shapes"
    images, labels = make_scenes(config.data, "val", context)
    fullest = np.argsort(
        [-len(np.unique(each)) for each in make_scenes(config.data, "val", "aligned")[1]], kind="stable"
    )
    return images[fullest[scene]], labels[fullest[scene]]


@torch.inference_mode()
def _prediction(result: EpochResult, image: Bytes) -> Bytes:
    training = result.training
    training.model.eval()
    network_input = training.compute.network_input(torch.from_numpy(image)[None])
    logits = frame_logits(training.model, network_input, training.config.evaluation)
    return logits.argmax(dim=1)[0].numpy().astype(np.uint8)


def _colours(config: TrialConfig) -> Bytes:
    table = np.full((256, 3), IGNORED, np.uint8)
    for number, colour in enumerate(class_map(config.data).colours):
        table[number] = colour
    table[IGNORE_INDEX] = IGNORED
    return table


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
