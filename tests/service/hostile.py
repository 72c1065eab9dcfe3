"""Uploads that mean no good, made from valid clips: always the same ones for the same seed."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from media_factory import Sound, moving_texture, tone, write_clip, write_sound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Upload = tuple[str, bytes]
SUFFIXES = ("mp4", "mkv", "avi", "ts", "webm")


def uploads(folder: Path, count: int, seed: int = 0) -> list[Upload]:
    """The made ones first, then as many fuzzed ones as make `count`."""
    clips = list(valid(folder))
    found = [*wrong_types(folder), *bombs(clips[0][1]), *polyglots(clips[0][1])]
    rng = np.random.default_rng(seed)
    while len(found) < count:
        name, data = clips[len(found) % len(clips)]
        how = HOW[int(rng.integers(len(HOW)))]
        found.append((f"{how.__name__}-{len(found)}-{name}", how(data, rng)))
    return found


def valid(folder: Path) -> Iterator[Upload]:
    sound = Sound(tone(1.0))
    for suffix in SUFFIXES:
        codec = "libvpx" if suffix == "webm" else "libx264"
        path = folder / f"clip.{suffix}"
        write_clip(
            path,
            moving_texture(15, 160, 120),
            codec=codec,
            audio=None if suffix == "webm" else sound,
        )
        yield path.name, path.read_bytes()


def wrong_types(folder: Path) -> Iterator[Upload]:
    sound = write_sound(folder / "sound.m4a", Sound(tone(1.0))).read_bytes()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(10**7))
    yield "text.mp4", b"this is a text and no video\n" * 50
    yield "empty.mp4", b""
    yield "one.mp4", b"x"
    yield "sound.mp4", sound
    yield "page.html", b"<html><script>alert(1)</script></html>"
    yield "archive.zip", archive.getvalue()
    yield "playlist.m3u8", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    yield "concat.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n"
    yield "dash.mpd", b'<?xml version="1.0"?><MPD><BaseURL>http://127.0.0.1/</BaseURL></MPD>'
    yield "program.mp4", b"\x7fELF" + bytes(500)
    yield "../../../etc/passwd", b"root"
    yield "picture.png", b"\x89PNG\r\n\x1a\n" + bytes(100)
    yield "zeros.mp4", bytes(10**6)
    yield "noise.mp4", np.random.default_rng(1).bytes(10**5)


def bombs(clip: bytes) -> Iterator[Upload]:
    """Sizes and durations that are lies or too much."""
    at = clip.index(b"mvhd")
    for factor in (1_000, 4_000_000):
        patched = bytearray(clip)
        (duration,) = struct.unpack_from(">I", clip, at + 20)
        struct.pack_into(">I", patched, at + 20, min(2**32 - 1, duration * factor))
        yield f"long{factor}.mp4", bytes(patched)
    place = clip.index(b"avc1", clip.index(b"stsd"))
    for width, height in ((65535, 65535), (16384, 16384), (0, 0)):
        patched = bytearray(clip)
        struct.pack_into(">HH", patched, place + 28, width, height)
        yield f"{width}x{height}.mp4", bytes(patched)
    # An AVI header that claims a picture of a gigapixel of raw colour.
    strf = struct.pack("<IiiHHIIiiII", 40, 32000, 32000, 1, 24, 0, 0, 0, 0, 0, 0)
    head = b"RIFF" + struct.pack("<I", 2**31 - 1) + b"AVI LIST" + struct.pack("<I", 192) + b"hdrl"
    yield "raw.avi", head + b"strf" + struct.pack("<I", 40) + strf + bytes(1000)


def polyglots(clip: bytes) -> Iterator[Upload]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.html", "<script>")
    yield "clip-and-zip.mp4", clip + archive.getvalue()
    yield "zip-and-clip.mp4", archive.getvalue() + clip
    yield "gif-and-clip.mp4", b"GIF89a" + clip
    yield "html-and-clip.mp4", b"<html><body>" + clip
    yield "twice.mp4", clip + clip


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes are others."""
    changed = np.frombuffer(data, np.uint8).copy()
    where = rng.integers(0, len(changed), int(rng.integers(1, 200)))
    changed[where] = rng.integers(0, 256, len(where))
    return changed.tobytes()


def head_flip(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes of the first kilobyte are others."""
    return flip(data[:1024], rng) + data[1024:]


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    """The end is missing."""
    return data[: int(rng.integers(1, len(data)))]


def hole(data: bytes, rng: np.random.Generator) -> bytes:
    """A piece is zeros."""
    start = int(rng.integers(len(data)))
    size = int(rng.integers(1, len(data) // 2))
    return (data[:start] + bytes(size) + data[start + size :])[: len(data)]


def shuffle(data: bytes, rng: np.random.Generator) -> bytes:
    """Pieces are in another order."""
    edges = np.sort(rng.integers(0, len(data), 6))
    pieces = [data[a:b] for a, b in zip([0, *edges], [*edges, len(data)], strict=True)]
    return b"".join(pieces[index] for index in rng.permutation(len(pieces)))


def splice(data: bytes, rng: np.random.Generator) -> bytes:
    """Noise in the middle."""
    start = int(rng.integers(len(data)))
    return data[:start] + rng.bytes(int(rng.integers(1, 5000))) + data[start:]


HOW = (flip, head_flip, cut, hole, shuffle, splice)
