"""Where a study file writes a setting, for mistakes that come to light after it was read."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from trainable.configfile.environment import hide_values
from trainable.configfile.mistakes import Mistake
from trainable.configfile.node import Node, Place, nearest
from trainable.parts.asking import Named


@dataclass(frozen=True)
class Places:
    """The lines and ``--set`` options of a study; a line of text is a mistake as the reader of the file tells it."""

    root: Node = field(repr=False)
    parts: Sequence[Named] = field(default=(), repr=False)

    @classmethod
    def of(cls, source: str) -> "Places":
        """Of a study of which the file alone is known."""
        return cls(Node({}, Place(source)))

    def mistake(self, path: str, message: str) -> str:
        """A mistake in a setting, by its dotted path."""
        return self._line(Mistake(nearest(self.root, path.split(".")).place, path, message))

    def of_trial(self, message: str) -> str:
        """Why a trial cannot run: at the first place that names the part whose code tells it, else of the file."""
        own = sorted((part for part in self.parts if part.name in message), key=lambda part: -len(part.name))
        return self._line(own[0].mistake("", message) if own else Mistake(Place(self.root.place.source), "", message))

    def _line(self, mistake: Mistake) -> str:
        (hidden,) = hide_values([mistake], self.root)
        return str(hidden)
