"""A process that decodes frames for a builder of the cache: ``python -m trainable.data.decoder SECTION``.

Reads a JSON line [image, label] per frame from stdin and answers on stdout with a JSON line: a mapping of what is said
of the frame, before 4*H*W bytes, image and label; or a string that says what is wrong. Ends when its stdin does.
"""

import json
import os
import signal
import sys
from pathlib import Path

from pydantic import TypeAdapter

from trainable.data.config import FileData
from trainable.data.decode import Decoder
from trainable.data.errors import DataError
from trainable.data.layout import Pair


def main() -> None:
    """Answer until there are no more questions."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's matter
    data: FileData = TypeAdapter(FileData).validate_json(sys.argv[1])
    decoder = Decoder.of(data)
    for line in sys.stdin.buffer:
        image, label = json.loads(line)
        try:
            frame = decoder.frame(Pair(Path(image), Path(label)))
        except DataError as error:
            sys.stdout.buffer.write(json.dumps(str(error)).encode() + b"\n")
        else:
            said = json.dumps({"remarks": frame.remarks, "palette": list(frame.palette.items())}).encode()
            sys.stdout.buffer.writelines([said, b"\n", frame.image.tobytes(), frame.label.tobytes()])
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # the parent died
        os._exit(1)
