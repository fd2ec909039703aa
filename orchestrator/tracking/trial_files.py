"""What MLflow shows of an ended trial, as files in a local folder. Imports no mlflow.

::

    config.yaml             the resolved configuration, to be run alone
    class_iou.csv           IoU of each class after the last epoch; recall and precision where the confusion is known
    confusion.png           confusion matrix after the last epoch
    weight_cosine.png       cosines between the classifier's weights of classes, after the last epoch
    context.png             IoU that classes lose where another one is erased, where that is measured
    gradcam_last.png        Grad-CAM maps of some rare classes after the last epoch
    validation_first.png    frames of the evaluation split after the first epoch
    validation_last.png     the same after the last one
    log-<n>.txt             log of each attempt
    traceback.txt           of a trial that failed by itself

A trial has what its worker left: one that was stopped early has no matrix, an imported one no picture.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

from orchestrator.store.artifacts import (
    Confusion,
    read_confusion,
    read_picture,
    read_reliance,
    read_weight_cosines,
)
from orchestrator.store.commands import PYTHON, module, quoted
from orchestrator.store.flat_config import flatten
from orchestrator.store.kept_weights import with_kept_weights
from orchestrator.store.layout import PICTURES
from orchestrator.store.masking import shown_config, shown_text
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record
from orchestrator.studyfile.environment import literal
from orchestrator.tracking.matrix_pictures import draw_confusion, draw_reliance, draw_weight_cosines
from trainable.configfile.node import JsonObject
from trainable.configfile.trees import escaped, write_yaml
from trainable.evaluate.metrics.names import iou_name
from trainable.suppression.unused import without_unused


def write_trial_files(record: Record, store: Store, folder: Path, from_env: Mapping[str, str]) -> None:
    """Write what there is of a trial into an existing folder.

    Values of environment variables appear in no file; the head of ``config.yaml`` says how to give them back.

    Raises:
        OSError: the storage or the folder cannot be used.
    """
    config = without_unused(with_kept_weights(store, record.planned.config))
    _write_config(config, record.key, folder / "config.yaml", from_env)
    confusion = read_confusion(store.objects, record.key)
    _write_ious(record, confusion, folder / "class_iou.csv")
    if confusion is not None:
        draw_confusion(confusion, f"{record.key} after epoch {confusion.epoch}", folder / "confusion.png")
    if (cosines := read_weight_cosines(store.objects, record.key)) is not None:
        draw_weight_cosines(cosines, f"{record.key} after epoch {cosines.epoch}", folder / "weight_cosine.png")
    if (reliance := read_reliance(store.objects, record.key)) is not None:
        draw_reliance(reliance, f"{record.key} after epoch {reliance.epoch}", folder / "context.png")
    for name in PICTURES:
        picture = read_picture(store.objects, record.key, name)
        if picture is not None:
            (folder / name).write_bytes(picture)
    for name, text in store.texts(record).items():
        (folder / name).write_text(shown_text(text, record.planned.config, from_env), encoding="utf-8")


def _write_config(config: JsonObject, key: str, path: Path, from_env: Mapping[str, str]) -> None:
    tree, settings = shown_config(escaped(config), from_env), flatten(config)
    # not the shell but the reader of the file expands ${NAME}
    hidden = {n: text for n, text in from_env.items() if n in settings and literal(n, settings[n]) not in from_env}
    values = [quoted(f"{name}={text}") for name, text in hidden.items()]
    command = " ".join([module("trainable", "config.yaml", python=PYTHON), *(f"--set {value}" for value in values)])
    head = f"# {key}. Run it alone:  {command}\n"
    path.write_text(head + write_yaml(tree, ascii_only=False), encoding="utf-8")


def _write_ious(record: Record, confusion: Confusion | None, path: Path) -> None:
    """A row per class; empty cells are undefined or unknown."""
    last = record.epochs[-1] if record.epochs else {}
    prefix = iou_name("")
    names = confusion.classes if confusion else tuple(n.removeprefix(prefix) for n in last if n.startswith(prefix))
    if not names:
        return
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["class", "iou", *(["recall", "precision", "pixels", "rare"] if confusion else [])])
        for c, name in enumerate(names):
            table.writerow([name, last.get(iou_name(name), ""), *(_counts(confusion, c) if confusion else [])])


def _counts(confusion: Confusion, c: int) -> list[object]:
    hits, labelled = confusion.matrix[c][c], sum(confusion.matrix[c])
    predicted = sum(row[c] for row in confusion.matrix)
    recall, precision = (hits / total if total else "" for total in (labelled, predicted))
    return [recall, precision, labelled, "rare" if c in confusion.rare else ""]
