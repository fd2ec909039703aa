"""Predictions are the trial's own: its evaluation, recomputed from masks, bit for bit; and the command around them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import orchestrator
from orchestrator.predict_images import main
from orchestrator.store.artifacts import read_confusion
from orchestrator.store.records import Store
from tests.orchestrator.api.trained_studies import folder_data, trained_study
from trainable.config import read_trial
from trainable.data.classes import class_names
from trainable.data.frames import load_splits
from trainable.evaluate.metrics.confusion import confusion_matrix, scores
from trainable.evaluate.predictor import Predictor
from trainable.model.segmenter import Segmenter

HOW = ("evaluation.flip=true", "evaluation.window=[32, 32]", "evaluation.scales=[0.5, 1.0]")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    torch.set_num_threads(1)
    return trained_study(tmp_path_factory.mktemp("scenes"), *HOW)


@pytest.fixture(scope="module")
def folder_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("pictures")
    return trained_study(folder, *folder_data(folder / "data"))


@pytest.fixture
def study(store: Store) -> orchestrator.Study:
    return orchestrator.load_study(store.address)


def scenes(study: orchestrator.Study) -> tuple[list[np.ndarray], torch.Tensor]:
    assert study.best is not None
    val = load_splits(read_trial(study.best.config).data).val
    images, labels = next(iter(val.batches([torch.arange(len(val))])))
    return [image.permute(1, 2, 0).numpy() for image in images], labels


def check_equal(masks: list[np.ndarray], labels: torch.Tensor, study: orchestrator.Study) -> None:
    """The confusion matrix and the metrics of the masks are those that the trial has recorded."""
    assert study.best is not None
    names = class_names(read_trial(study.best.config).data)
    matrix = sum(
        confusion_matrix(label[None], torch.from_numpy(mask)[None].long(), len(names))
        for mask, label in zip(masks, labels, strict=True)
    )
    recorded = read_confusion(study._store.objects, study.best.key)
    assert recorded is not None
    assert torch.equal(matrix, torch.tensor(recorded.matrix))
    for name, value in scores(matrix, names, recorded.rare).items():
        assert study.best.metrics[name] == value, name


def test_masks_of_the_evaluation_split_give_the_recorded_scores_bit_for_bit(study: orchestrator.Study) -> None:
    images, labels = scenes(study)
    assert study.best is not None
    assert study.best.key == "search-0000"
    masks = orchestrator.predict(study, images, device="cpu")
    assert {(mask.shape, mask.dtype.name) for mask in masks} == {((64, 64), "uint8")}
    check_equal(masks, labels, study)


def test_files_of_any_size_turned_or_of_16_bits_are_prepared_as_in_training(folder_store: Store) -> None:
    study = orchestrator.load_study(folder_store.address)
    assert study.best is not None
    root = Path(str(study.best.config["data"]["root"])) / "images" / "val"  # type: ignore[call-overload,index]
    own_size = orchestrator.predict(study, root, device="cpu")
    assert [mask.shape for mask in own_size] == [(64, 96), (96, 48), (50, 70), (200, 120)], "upright"
    seen = orchestrator.predict(study, root, resize=False, device="cpu")
    assert [mask.shape for mask in seen] == [(64, 96), (64, 32), (64, 90), (64, 38)]
    labels = scenes(study)[1]
    padded = [np.pad(m, ((0, 64 - m.shape[0]), (0, 96 - m.shape[1]))) for m in seen]  # padding is ignored
    check_equal(padded, labels, study)


def test_pictures_and_arrays_are_read_as_files_are(folder_store: Store) -> None:
    study = orchestrator.load_study(folder_store.address)
    assert study.best is not None
    root = Path(str(study.best.config["data"]["root"])) / "images" / "val"  # type: ignore[call-overload,index]
    predictor = orchestrator.load_predictor(study, device="cpu")
    files = orchestrator.predict(study, root, device="cpu")
    paths = sorted(root.iterdir())
    pictures = orchestrator.predict(study, [Image.open(path) for path in paths], device="cpu")
    for file, picture in zip(files, pictures, strict=True):
        assert np.array_equal(file, picture)
    pixels = np.asarray(Image.open(paths[0]))
    assert np.array_equal(orchestrator.predict(study, pixels, device="cpu")[0], files[0])
    deep = np.asarray(Image.open(paths[2]))
    assert deep.dtype == np.uint16
    assert np.array_equal(orchestrator.predict(study, deep, device="cpu")[0], files[2])
    batch = np.stack([pixels, pixels])
    assert len(orchestrator.predict(study, batch, device="cpu")) == 2
    assert predictor.classes.names == ("ground", "thing")


def test_probabilities_and_batches(study: orchestrator.Study) -> None:
    images, _ = scenes(study)
    masks = orchestrator.predict(study, images[:3], device="cpu", batch_size=1)
    pairs = orchestrator.predict(study, images[:3], probabilities=True, device="cpu", batch_size=2)
    for mask, (again, probabilities) in zip(masks, pairs, strict=True):
        assert probabilities.shape == (6, 64, 64)
        assert np.allclose(probabilities.sum(axis=0), 1, atol=1e-5)
        assert np.array_equal(probabilities.argmax(axis=0), again)
        assert (mask == again).mean() > 0.999
    large = np.kron(images[0], np.ones((3, 2, 1), dtype=np.uint8))
    (mask, probabilities) = orchestrator.predict(study, large, probabilities=True, device="cpu")[0]
    assert mask.shape == (192, 128)
    assert np.array_equal(probabilities.argmax(axis=0), mask), "resized logits are compared, not resized masks"


def test_the_plain_model_has_equal_logits(study: orchestrator.Study) -> None:
    images, _ = scenes(study)
    predictor: Predictor = orchestrator.load_predictor(study, device="cpu")
    assert isinstance(predictor.network, Segmenter)
    before = torch.get_rng_state()
    plain = orchestrator.load_model(study)
    assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers go on"
    assert type(plain).__module__.startswith("segmentation_models_pytorch")
    inputs = predictor.compute.network_input(torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()))
    with torch.inference_mode():
        assert torch.allclose(plain(inputs), predictor.network(inputs), atol=1e-4)


def test_a_trial_that_goes_on_predicts_with_its_latest_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the epochs before ``suppression.start``, whose weights are those of the plain model."""
    store = trained_study(tmp_path, "suppression.start=0.5")
    (last,) = [name for name in store.checkpoints("search-0000") if name.epoch == 2]
    store.objects.delete(f"trials/search-0000/{last}")
    images, _ = scenes(study := orchestrator.load_study(store.address))
    predictor = orchestrator.load_predictor(study, trial="search-0000", device="cpu")
    assert isinstance(predictor.network, Segmenter)
    assert predictor.network.layers == ()
    assert orchestrator.predict(study, images[0], trial="search-0000", device="cpu")[0].shape == (64, 64)


def test_mistakes_are_one_line(study: orchestrator.Study, tmp_path: Path) -> None:
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (tmp_path / "empty").mkdir()
    cases = [
        ((study, image), {"trial": "search-0001"}, "no weights of search-0001 are kept; a search keeps those of its"),
        ((study, image), {"trial": "other"}, "unknown trial 'other'; one of search-0000, search-0001"),
        ((study.best, image), {"trial": "search-0001"}, "search-0000 is given already"),
        ((study, tmp_path / "none.png"), {}, "none.png: no such file or folder"),
        ((study, tmp_path / "empty"), {}, "empty: holds no image (.png, .jpg"),
        ((study, [image, broken]), {}, f"{broken}: cannot be decoded"),
        ((study, image / 255), {}, "image 0: values of type float64; an image is height x width x 3 of uint8"),
        ((study, image.transpose(2, 0, 1)), {}, "image 0: an array of 3 x 8 x 8"),
        ((study, image[:0]), {}, "image 0: has no pixels"),
        ((study, 3), {}, "int is no image"),
        ((study, [None]), {}, "NoneType is no image"),
        ((study, image), {"device": "tpu9"}, "device 'tpu9': "),
        (("none", image), {}, "no study there"),
    ]
    for arguments, options, said in cases:
        with pytest.raises(orchestrator.InputError) as refused:
            orchestrator.predict(*arguments, **options)  # type: ignore[call-overload]
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)


def test_no_images_are_no_masks(study: orchestrator.Study) -> None:
    assert orchestrator.predict(study, []) == []


@pytest.fixture
def pictures(study: orchestrator.Study, tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    images, _ = scenes(study)
    Image.fromarray(images[0]).resize((80, 48)).save(folder / "one.png")
    Image.fromarray(images[1]).save(folder / "deep" / "two.jpg")
    return folder


def command(study: orchestrator.Study, *words: str | Path) -> int:
    return main([study.address, *map(str, words), "--device", "cpu"])


def test_the_command_writes_masks_and_pictures(
    study: orchestrator.Study, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command(study, pictures, "--out", out, "--overlay") == 0
    assert capsys.readouterr().out == f"2 masks of 6 classes are in {out}\n"
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*.*"))
    assert written == ["classes.json", "deep/two.png", "deep/two_colour.png", "one.png", "one_colour.png"]
    mask = Image.open(out / "one.png")
    expected = orchestrator.predict(study, pictures / "one.png", device="cpu")[0]
    assert mask.size == (80, 48)
    assert np.array_equal(np.asarray(mask), expected)
    classes = json.loads((out / "classes.json").read_text())
    assert [one["name"] for one in classes][:2] == ["meadow", "sand"]
    seen = int(expected[0, 0])
    assert mask.convert("RGB").getpixel((0, 0)) == tuple(classes[seen]["colour"])
    colours = Image.open(out / "one_colour.png")
    assert colours.width >= 80
    assert colours.height > 48, "a legend"
    plain = tmp_path / "plain"
    assert command(study, pictures / "one.png", "--out", plain) == 0
    assert Image.open(plain / "one_colour.png").getpixel((0, 0)) == tuple(classes[seen]["colour"])


def test_the_command_names_what_it_cannot_read_and_goes_on(
    study: orchestrator.Study, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "broken.png").write_text("no picture")
    assert command(study, pictures, "--out", tmp_path / "out") == 3
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        f"{pictures}/broken.png: cannot be decoded (it is no picture of a kind that Pillow knows)"
    ]
    assert "2 masks" in captured.out
    assert command(study, pictures / "broken.png", "--out", tmp_path / "none") == 2
    assert not (tmp_path / "none").exists()


def test_the_command_replaces_nothing_unasked(
    study: orchestrator.Study, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command(study, pictures / "one.png", "--out", out) == 0
    before = (out / "one.png").stat().st_mtime_ns
    assert command(study, pictures / "one.png", "--out", out) == 2
    assert "one.png, " in (err := capsys.readouterr().err)
    assert err.endswith("are there; --overwrite replaces them\n")
    assert (out / "one.png").stat().st_mtime_ns == before
    assert command(study, pictures / "one.png", "--out", out, "--overwrite") == 0
    assert command(study, pictures / "one.png", "--out", pictures, "--overwrite") == 2
    assert "would replace the image" in capsys.readouterr().err


def test_images_that_would_share_a_mask_keep_their_endings(
    study: orchestrator.Study, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = Image.open(pictures / "one.png")
    for name in ("one.jpg", "one.jpg.bmp", "two.png", "two_colour.jpg"):
        picture.save(pictures / name)
    out = tmp_path / "out"
    assert command(study, pictures, "--out", out) == 0
    masks = {"one.png", "one.jpg", "one.jpg.bmp", "two.png", "two_colour.jpg", "deep/two"}
    written = {str(path.relative_to(out)) for path in out.rglob("*.png")}
    assert written == {f"{name}{end}.png" for name in masks for end in ("", "_colour")}
    exact = orchestrator.predict(study, pictures / "one.jpg", device="cpu")[0]
    assert np.array_equal(np.asarray(Image.open(out / "one.jpg.png")), exact)
    capsys.readouterr()
    picture.save(pictures / "deep" / "one.png")
    assert command(study, pictures / "one.png", pictures / "deep" / "one.png", "--out", tmp_path / "none") == 2
    said = "would both be written as one.png.png; give each an --out of its own\n"
    assert capsys.readouterr().err.endswith(said)
    assert command(study, pictures / "deep" / "one.png", "--out", tmp_path / "alone") == 0
    assert capsys.readouterr().out == f"1 mask of 6 classes is in {tmp_path / 'alone'}\n"


@pytest.mark.parametrize("place", ["", "masks", "trials/search-0000"])
def test_no_mask_is_written_into_a_studys_directory(
    study: orchestrator.Study, pictures: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(Path(study.address).rglob("*"))
    out = Path(study.address) / place
    assert command(study, pictures, "--out", out, "--overwrite") == 2
    said = f"--out {out}: lies in the directory of a study, {Path(study.address).resolve()}; give a place elsewhere\n"
    assert capsys.readouterr().err == said
    (named := pictures / Path(study.address).name).mkdir()
    (pictures / "one.png").rename(named / "one.png")
    assert command(study, pictures, "--out", Path(study.address).parent) == 2
    assert "lies in the directory of a study" in capsys.readouterr().err
    assert sorted(Path(study.address).rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.png", "--out", "out"], "none.png: no such file or folder"),
        (["one.png", "--out", " "], "--out: names no folder"),
        (["one.png", "--out", "one.png"], "--out one.png: is a file; give a folder"),
        (["one.png", "--out", "out", "--trial", "search-1"], "unknown trial 'search-1'"),
    ],
)
def test_bad_input_of_the_command(
    study: orchestrator.Study,
    pictures: Path,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(pictures)
    assert command(study, *words) == 2
    assert said in capsys.readouterr().err
    assert not (pictures / "out").exists()
