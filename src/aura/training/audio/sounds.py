"""The recordings: what they are, who speaks, and which may not be told apart by a split.

Speakers hide behind several names: LJSpeech is in three demo pages, LibriTTS readers in three
others, and one page gives the same sentences clean, with noise and in a room. `voice_of` joins
what may be one person or one sentence; folds keep a voice on one side.
"""

from __future__ import annotations

import csv
import re
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
import numpy as np

from aura.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SAMPLE_RATE = 16_000
LONGEST = 4  # seconds of a recording that are used

# Families of generators that are left out together: they share how sound is put together.
FAMILIES = {
    "autoregressive (WaveNet)": ("wavenet",),
    "autoregressive (WaveRNN)": ("wavernn",),
    "flow (WaveGlow)": ("waveglow",),
    "GAN (MelGAN kinds)": ("melgan", "fb_melgan", "universal_melgan"),
    "GAN, iSTFT, codec (HiFi-GAN, BigVGAN, Vocos, EnCodec)": (
        "hifigan",
        "bigvgan",
        "istftnet",
        "vocos",
        "encodec",
    ),
}
# LibriTTS readers on the page's clean part.
PAGE_READERS = {"121", "237", "1089", "1320", "1580", "2830", "3570", "4992", "5105", "7729"}


@dataclass(frozen=True)
class Recording:
    """One file: `family` is None for a real one; `group` joins a recording and its fakes."""

    path: str
    family: str | None
    text_to_speech: bool
    voice: str
    group: str
    source: str
    licence: str


def recordings(data: Path) -> list[Recording]:
    """The speech files of the data folder.

    Raises:
        UsageError: the folder has no manifest.
    """
    path = data / "manifest.csv"
    if not path.is_file():
        raise UsageError(f"no manifest at {path}; give the data folder by --data or AURA_DATA")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["kind"] == "speech"]
    found = []
    for row in rows:
        folder = row["path"].split("/")[2]
        made_by = folder.removeprefix("tts_") if row["label"] == "fake" else None
        found.append(
            Recording(
                row["path"],
                family_of(made_by) if made_by else None,
                folder.startswith("tts_") and made_by is not None,
                voice_of(row["identity_or_speaker"]),
                row["group"],
                row["source_repo"],
                row["licence"],
            )
        )
    return found


def family_of(generator: str) -> str:
    """The family that a generator's folder belongs to.

    Raises:
        UsageError: a generator that no family names.

    >>> family_of("waveglow")
    'flow (WaveGlow)'
    """
    for family, members in FAMILIES.items():
        if generator in members:
            return family
    raise UsageError(f"the generator {generator!r} belongs to no family in {__name__}")


def voice_of(speaker: str) -> str:
    """Who may be speaking, across the names that the sources give.

    >>> voice_of("vocos-1089"), voice_of("ls-1089"), voice_of("umg-kor-tts-6_anna")
    ('page-clean', 'page-clean', 'page-korean-tts')
    """
    if speaker.startswith("umg-"):
        return _of_the_page(speaker.removeprefix("umg-"))
    reader = re.fullmatch(r"(?:vocos|ls)-(\d+)", speaker)
    if reader:
        return "page-clean" if reader[1] in PAGE_READERS else f"reader-{reader[1]}"
    return speaker


def _of_the_page(name: str) -> str:
    part = name.rsplit("-", 1)[0] if name.startswith(("eng_", "kor_")) else name
    if "LJ" in name or part.startswith("eng-tts") or part == "eng_seen_single":
        return "LJSpeech"
    if name.startswith("kor-tts") or part == "kor_seen_single":
        return "page-korean-tts"
    language = "korean-" if part.startswith("kor") else ""
    for kind in ("expressive", "languages"):
        if kind in part:
            return f"page-{kind}"
    # Clean, noisy and reverberated are the same sentences.
    if any(kind in part for kind in ("noisy", "reverberated", "clean")):
        return f"page-{language}clean"
    return f"page-{language}{part.split('_')[-1]}"


def read_samples(path: Path) -> NDArray[np.float32]:
    """(n,) float32 mono at 16 kHz, at most `LONGEST` seconds."""
    with closing(av.open(str(path))) as container:
        stream = container.streams.audio[0]
        convert = av.AudioResampler("flt", "mono", SAMPLE_RATE)
        frames = [part for frame in container.decode(stream) for part in convert.resample(frame)]
        frames += convert.resample(None)
    sound = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    return sound[: LONGEST * SAMPLE_RATE].astype(np.float32)
