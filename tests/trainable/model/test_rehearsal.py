"""Whether a model takes images, told without numbers."""

from typing import get_args

import pytest

from trainable.model.build import check_model
from trainable.model.config import Arch, ModelConfig, is_plain_resnet
from trainable.model.encoders import TINY_RESNET, ModelError
from trainable.model.rehearsal import Rehearsal


def rehearsal(arch: str, encoder: str) -> Rehearsal:
    return Rehearsal(ModelConfig(arch=arch, encoder=encoder, encoder_weights=None))  # type: ignore[arg-type]


def test_operations_grow_with_the_pixels() -> None:
    model = rehearsal("linknet", "tu-test_resnet")
    one = model.operations(1, 64, 64, training=False)
    assert one > 0
    assert model.operations(4, 64, 64, training=True) == pytest.approx(4 * one, rel=0.01)
    assert model.operations(1, 4096, 8192, training=False) == pytest.approx(64 * 128 * one, rel=0.01), (
        "no memory needed"
    )


def test_an_encoder_that_needs_numbers_while_it_is_built_is_rehearsed_too() -> None:
    assert rehearsal("segformer", "mit_b0").operations(2, 64, 64, training=True) > 0


@pytest.mark.parametrize(
    ("arch", "encoder", "batch", "size", "training", "expected"),
    [
        ("pan", "resnet18", 2, 64, True, "'pan' on encoder 'resnet18' cannot be trained on 2 images of 64 x 64"),
        ("pan", "resnet18", 1, 64, False, "cannot predict 1 image of 64 x 64 at a time: Given input size"),
        ("fpn", "resnet18", 1, 32, True, "cannot be trained on 1 image of 32 x 32 at a time: Expected more than 1"),
        ("upernet", "tu-swin_tiny_patch4_window7_224", 2, 64, True, "Input height (64) doesn't match model (224)"),
    ],
)
def test_what_cannot_run_is_a_line(
    arch: str, encoder: str, batch: int, size: int, training: bool, expected: str
) -> None:
    with pytest.raises(ModelError) as refused:
        rehearsal(arch, encoder).operations(batch, size, size, training=training)
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("arch", [arch for arch in get_args(Arch) if arch != "hrnet"])
def test_the_tiny_resnet_is_taken_wherever_a_resnet_of_smp_is(arch: str) -> None:
    assert is_plain_resnet(TINY_RESNET)
    for encoder in ("resnet18", TINY_RESNET):
        model = ModelConfig(arch=arch, encoder=encoder, encoder_weights=None)  # type: ignore[arg-type]
        check_model(model, () if arch == "pspnet" else model.inner_layers, 2)
        network, sizes = Rehearsal(model), [(1, 32, 32, False), (1, 64, 96, False), (2, 32, 64, True)]
        for batch, height, width, training in sizes if arch != "pan" else [(2, 128, 128, True)]:
            assert network.operations(batch, height, width, training=training) > 0
