"""How large faces are and how long they take to write and read, for lossless ways to store them.

    python -m benchmarks.face_storage PREPARED

Faces come from a folder of `aura data prepare`; times are CPU time of one thread.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from aura.training.data.prepared import open_prepared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MOST_FACES = 600  # spread over all clips: enough for two digits
WEBP_LOSSLESS = 101  # OpenCV's way to ask for it
WAYS: dict[str, tuple[str, Sequence[int]]] = {
    "raw": ("", ()),
    "PNG level 1": (".png", (cv2.IMWRITE_PNG_COMPRESSION, 1)),
    "PNG level 3": (".png", (cv2.IMWRITE_PNG_COMPRESSION, 3)),
    "WebP lossless": (".webp", (cv2.IMWRITE_WEBP_QUALITY, WEBP_LOSSLESS)),
}


def main() -> None:
    """Measure and print one line a way."""
    prepared = open_prepared(Path(sys.argv[1]))
    each = -(-MOST_FACES // len(prepared))
    faces = [face for i in range(len(prepared)) for face in prepared.load(i).faces.crops[:each]]
    cv2.setNumThreads(1)
    print(f"{len(faces)} faces of {len(prepared)} clips")
    for name, (suffix, options) in WAYS.items():
        start = time.process_time()
        packed = [_pack(face, suffix, options) for face in faces]
        written = time.process_time()
        unpacked = [
            _unpack(one, suffix, face.shape) for one, face in zip(packed, faces, strict=True)
        ]
        read = time.process_time()
        if not all(map(np.array_equal, unpacked, faces)):
            raise SystemExit(f"{name} is not lossless")
        size = sum(map(len, packed)) / len(faces) / 1000
        times = (1000 * (written - start) / len(faces), 1000 * (read - written) / len(faces))
        print(f"{name:<14} {size:6.1f} kB  write {times[0]:5.2f} ms  read {times[1]:5.2f} ms")


def _pack(face: NDArray[np.uint8], suffix: str, options: Sequence[int]) -> bytes:
    if not suffix:
        return face.tobytes()
    return bytes(cv2.imencode(suffix, face[..., ::-1], options)[1])


def _unpack(packed: bytes, suffix: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if not suffix:
        return np.frombuffer(packed, np.uint8).reshape(shape).copy()
    picture = cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(picture)[..., ::-1]


if __name__ == "__main__":
    main()
