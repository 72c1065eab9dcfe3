"""Renders the sample clip: a still portrait that is made to move, and a synthetic voice.

The picture is the public-domain NASA portrait of Eileen Collins that scikit-image carries, the
voice is espeak-ng. Nothing in the clip was filmed or recorded, so its honest label is **fake**;
it shows that an installation works and says nothing about how well fakes are found.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np

from aura.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from av.audio.stream import AudioStream
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

WIDTH, HEIGHT, FPS = 640, 480, 25
SECONDS = 8.0
LEAD_SECONDS = 0.3  # quiet before the first word, as a recording has it
TITLE = "Aura sample: a still that moves and a synthetic voice. Label: fake."
TEXT = (
    "This is a test. The picture is a photograph that was made to move, "
    "and nobody ever spoke with this voice. Do not believe either of them."
)
VOICE, WORDS_PER_MINUTE = b"en-us", 170
SPEECH_LEVEL = 0.1  # RMS of the voice, the level of ordinary recordings

# Where the face is in the 512 x 512 portrait, in pixels.
FACE_CENTRE = (225.0, 118.0)
MOUTH = (223.5, 143.5)  # middle of the line between the upper teeth and the lower lip
MOUTH_HALF_WIDTH = 20.0
CHIN_REACH = 26.0  # how far below that line the jaw still moves along
MOUTH_OPEN = 9.0  # pixels that the lower lip drops at the loudest
MOUTH_INSIDE = (52, 20, 22)  # RGB

# espeak-ng's C interface (speak_lib.h).
ESPEAK_SYNCHRONOUS = 2  # samples go to the callback while `espeak_Synth` runs
ESPEAK_DONT_EXIT = 0x8000  # report a missing voice instead of ending the process
ESPEAK_UTF8 = 1
ESPEAK_RATE = 1
RATE_BYTES = 4  # of the rate, before the samples that the speaking process writes


def render_sample(path: str | os.PathLike[str]) -> Path:
    """Render the sample, 8 s of 640x480 H.264 and AAC in MP4; the same bytes on every run.

    Args:
        path: the MP4 file to write; its folder must exist.

    Raises:
        MissingExtra: scikit-image or espeakng-loader is not installed.
        UsageError: the file can't be written.
    """
    path = Path(path)
    still, (voice, rate) = portrait(), _speech(TEXT)
    sound = np.zeros(round(SECONDS * rate), np.float32)
    begin = round(LEAD_SECONDS * rate)
    voice = voice[: len(sound) - begin]
    sound[begin : begin + len(voice)] = voice
    opening = mouth_opening(sound, rate)
    try:
        _encode(path, _pictures(still, opening), sound, rate)
    except OSError as error:
        raise UsageError(f"the sample can't be written to {path} ({error.strerror})") from None
    return path


def mouth_opening(sound: NDArray[np.float32], rate: int) -> NDArray[np.float64]:
    """How far the mouth is open at each picture, in [0, 1]: the smoothed level of the sound.

    Args:
        sound: (n,) float32 mono in [-1, 1].
        rate: Hz.
    """
    step = rate // FPS
    level = np.sqrt((sound[: len(sound) // step * step].reshape(-1, step) ** 2).mean(axis=1))
    level = np.convolve(level, [0.25, 0.5, 0.25], mode="same")
    return np.asarray((level / max(float(np.percentile(level, 95)), 1e-6)).clip(0, 1))


def portrait() -> NDArray[np.uint8]:
    """The public-domain portrait, (512, 512, 3) uint8 RGB.

    Raises:
        MissingExtra: scikit-image, which carries it, is not installed.
    """
    spec = find_spec("skimage")  # found, not imported: only its picture is needed
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        image = cv2.imread(str(Path(folder) / "data" / "astronaut.png"))
        if image is not None:
            return np.asarray(image[..., ::-1], dtype=np.uint8)
    raise MissingExtra("rendering the sample", "sample")


def _speech(text: str) -> tuple[NDArray[np.float32], int]:
    """Speak a text; (n,) float32 mono and its rate in Hz."""
    if find_spec("espeakng_loader") is None:
        raise MissingExtra("rendering the sample", "sample")
    # In a process of its own: espeak-ng carries state from one text to the next, so that only
    # its first words are the same on every run.
    done = subprocess.run(  # noqa: S603 - this module, this interpreter
        [sys.executable, "-m", "aura.sample", text], capture_output=True, check=False
    )
    if done.returncode != 0 or len(done.stdout) <= RATE_BYTES:
        raise MissingExtra("a working espeak-ng for the sample", "sample")
    rate = int.from_bytes(done.stdout[:RATE_BYTES], "little")
    sound = np.frombuffer(done.stdout[RATE_BYTES:], "<i2").astype(np.float32) / 32768
    level = float(np.sqrt((sound**2).mean()))
    return (sound * (SPEECH_LEVEL / max(level, 1e-6))).clip(-1, 1), rate


def _speak(text: str) -> bytes:
    """Let espeak-ng speak a text: the rate in Hz, then 16-bit mono samples, little-endian."""
    import espeakng_loader  # noqa: PLC0415 - optional extra

    espeak: Any = ctypes.CDLL(espeakng_loader.get_library_path())
    data = espeakng_loader.get_data_path().encode()
    rate = espeak.espeak_Initialize(ESPEAK_SYNCHRONOUS, 0, data, ESPEAK_DONT_EXIT)
    if rate <= 0 or espeak.espeak_SetVoiceByName(VOICE) != 0:
        raise OSError("espeak-ng has no English voice")
    pieces: list[bytes] = []

    def collect(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).astype("<i2").tobytes())
        return 0  # go on

    prototype = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
    )
    callback = prototype(collect)  # held here, or it would be freed while C still calls it
    espeak.espeak_SetSynthCallback(callback)
    espeak.espeak_SetParameter(ESPEAK_RATE, WORDS_PER_MINUTE, 0)
    spoken = text.encode() + b"\0"
    espeak.espeak_Synth(spoken, ctypes.c_size_t(len(spoken)), 0, 0, 0, ESPEAK_UTF8, None, None)
    espeak.espeak_Synchronize()
    espeak.espeak_Terminate()
    return int(rate).to_bytes(RATE_BYTES, "little") + b"".join(pieces)


def _pictures(
    portrait: NDArray[np.uint8], opening: NDArray[np.float64]
) -> Iterator[NDArray[np.uint8]]:
    """The portrait seen by a slow hand-held camera, its mouth open as told, at `FPS`."""
    for index, amount in enumerate(opening):
        time = index / FPS
        scale = 2.0 + 0.12 * np.sin(2 * np.pi * time / 7.0)
        tilt = 2.0 * np.sin(2 * np.pi * time / 5.3)
        matrix = cv2.getRotationMatrix2D(FACE_CENTRE, tilt, scale)
        matrix[0, 2] += WIDTH / 2 - FACE_CENTRE[0] + 14 * np.sin(2 * np.pi * time / 6.1)
        matrix[1, 2] += HEIGHT * 0.46 - FACE_CENTRE[1] + 9 * np.sin(2 * np.pi * time / 4.3)
        picture = cv2.warpAffine(
            _open_mouth(portrait, float(amount)),
            matrix,
            (WIDTH, HEIGHT),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        yield np.asarray(picture, dtype=np.uint8)


def _open_mouth(portrait: NDArray[np.uint8], amount: float) -> NDArray[np.uint8]:
    """Pull everything below the line of the lips down, most in the middle, least at the chin."""
    left, right = int(MOUTH[0] - MOUTH_HALF_WIDTH - 4), int(MOUTH[0] + MOUTH_HALF_WIDTH + 4)
    top, bottom = int(MOUTH[1] - 4), int(MOUTH[1] + CHIN_REACH + MOUTH_OPEN + 4)
    y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
    drop = MOUTH_OPEN * amount * np.clip(1 - ((x - MOUTH[0]) / MOUTH_HALF_WIDTH) ** 2, 0, 1)
    below = y - np.float32(MOUTH[1])
    fading = np.clip(1 - (below - drop) / CHIN_REACH, 0, 1)
    source = np.where(below > 0, y - drop * fading, y).astype(np.float32)
    moved = cv2.remap(portrait, x, source, cv2.INTER_LINEAR).astype(np.float32)
    gap = ((below > 0) & (below < drop)).astype(np.float32)
    gap = cv2.GaussianBlur(gap, (0, 0), 0.8)[..., None]
    picture = portrait.copy()
    mixed = moved * (1 - gap) + np.array(MOUTH_INSIDE, np.float32) * gap
    picture[top:bottom, left:right] = mixed.round().astype(np.uint8)
    return picture


def _encode(
    path: Path, pictures: Iterator[NDArray[np.uint8]], sound: NDArray[np.float32], rate: int
) -> None:
    # One thread and no version strings: the same bytes whatever the machine's core count.
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as output:
        output.metadata["title"] = TITLE
        video: VideoStream = output.add_stream(
            "libx264", rate=FPS, options={"crf": "18", "preset": "veryfast", "threads": "1"}
        )
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio: AudioStream = output.add_stream("aac", rate=rate, layout="mono")
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            output.mux(video.encode(frame))
            step = rate // FPS
            block = np.ascontiguousarray(sound[None, index * step : (index + 1) * step])
            if block.size:
                heard = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                heard.sample_rate, heard.pts = rate, index * step
                heard.time_base = Fraction(1, rate)
                output.mux(audio.encode(heard))
        output.mux(video.encode())
        output.mux(audio.encode())


if __name__ == "__main__":
    sys.stdout.buffer.write(_speak(sys.argv[1]))
