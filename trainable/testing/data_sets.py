"""The contract of data sets."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from trainable.data.config import OwnData, Size
from trainable.data.layout import SPLITS
from trainable.data.own_data import checked_frame
from trainable.parts.data import DataSet
from trainable.testing.contract import Contract, run

FEW = 4


class DataSetContract(Contract):
    """Rules of `trainable.parts.DataSet`."""

    classes: ClassVar[Sequence[str]]
    """Names, as ``data.classes`` writes them."""
    size: ClassVar[Size] = (32, 64)
    """A size that the data set can give."""

    def trial(self) -> Mapping[str, object] | None:
        """On its frames."""
        return {"data": {**self.section, "classes": list(self.classes), "size": list(self.size)}}

    def test_both_splits_hold_frames(self) -> None:
        """Of the configured size and type, with ids of the classes."""
        part = self._opened()
        for split in SPLITS:
            count = part.count(split)
            assert type(count) is int, f"count('{split}') is no whole number"
            assert count >= 1, f"count('{split}') is {count}"
            for index in {0, count - 1}:
                checked_frame(part, self._data(), split, index)

    def test_frames_repeat_in_any_order(self) -> None:
        """A second object gives the same bytes, last frame first."""
        one, other = self._opened(), self._opened()
        for split in SPLITS:
            indices = range(min(FEW, one.count(split)))
            forwards = [checked_frame(one, self._data(), split, index) for index in indices]
            backwards = [checked_frame(other, self._data(), split, index) for index in reversed(indices)][::-1]
            for index, (first, second) in enumerate(zip(forwards, backwards, strict=True)):
                same = all(bool((a == b).all()) for a, b in zip(first, second, strict=True))
                assert same, f"frame('{split}', {index}) gives other bytes the second time"

    def test_no_frame_is_in_both_splits(self) -> None:
        """Scores on training images say nothing."""
        part = self._opened()
        first = {
            split: [checked_frame(part, self._data(), split, index) for index in range(min(FEW, part.count(split)))]
            for split in SPLITS
        }
        for number, (image, _) in enumerate(first["val"]):
            for other, (trained, _) in enumerate(first["train"]):
                assert not bool((image == trained).all()), f"frame {number} of val is frame {other} of train"

    def test_the_fingerprint_repeats(self) -> None:
        """It is a text that two objects agree on."""
        one, other = self._opened().fingerprint(), self._opened().fingerprint()
        assert isinstance(one, str), "fingerprint() is no text"
        assert one == other, "fingerprint() gives another text the second time"

    def _opened(self) -> DataSet:
        part = self.make()
        assert isinstance(part, DataSet), f"{self.name} is no trainable.parts.DataSet"
        return part

    def _data(self) -> OwnData:
        return OwnData.model_construct(name=self.name, classes=tuple(self.classes), size=self.size)


def check_data_set(part: type, *, classes: Sequence[str], size: Size = (32, 64), **settings: Any) -> None:
    """Run the contract of data sets; raises as `contract.run`."""
    run(DataSetContract, part, settings, classes=classes, size=size)
