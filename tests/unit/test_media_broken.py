"""Files that can't be read, threads that must end, files that must not stay."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import wave
from pathlib import Path

import cv2
import numpy as np
import pytest

import media_factory as make
from aura.errors import InputError, InputNotFound, NoVideo, UnreadableMedia
from aura.media import (
    Frame,
    decode,
    extract_audio,
    probe,
)
from media_reading import flash_clip, read

NOBODY = 65534
EXTRACT = """
with extract_audio(path):
    while True:
        say()
"""


# --- what can't be read


def test_missing_file_and_folder_are_not_found(tmp_path):
    with pytest.raises(InputNotFound, match="does not exist"):
        probe(tmp_path / "no.mp4")
    with pytest.raises(InputNotFound, match="folder"):
        probe(tmp_path)
    with pytest.raises(InputNotFound):
        probe("nul\0byte.mp4")


def test_a_file_without_permission_is_not_found(tmp_path):
    path = make.write_clip(tmp_path / "secret.mp4", make.moving_texture(3))
    path.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)  # root may read everything
    try:
        with pytest.raises(InputNotFound, match="may not be read"):
            probe(path)
    finally:
        if root:
            os.seteuid(0)


def test_a_pipe_is_refused_and_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(InputNotFound, match="ordinary file"):
        probe(tmp_path / "pipe.mp4")


@pytest.mark.parametrize(
    "content",
    [b"", b"just words\n" * 200, bytes(5000), b"\0\0\0\x18ftypmp42"],
)
def test_what_is_no_video_is_unreadable_and_the_message_names_it(tmp_path, content):
    path = tmp_path / "fake.mp4"
    path.write_bytes(content)
    with pytest.raises(UnreadableMedia, match=r"fake\.mp4"):
        probe(path)


def test_random_bytes_never_escape_as_anything_but_an_input_error(tmp_path):
    rng = np.random.default_rng(0)
    good = make.write_clip(tmp_path / "good.mp4", make.moving_texture(10)).read_bytes()
    for trial in range(30):
        data = bytearray(good)
        for place in rng.integers(0, len(data), 40):
            data[place] = rng.integers(256)
        path = tmp_path / "bad.mp4"
        path.write_bytes(data if trial % 2 else rng.bytes(3000))
        try:
            read(path)
        except InputError as error:
            assert "bad.mp4" in str(error)  # noqa: PT017


def test_sound_only_has_no_video_even_with_a_cover_picture(tmp_path):
    path = make.write_sound(tmp_path / "song.m4a", make.Sound(make.tone(0.5)))
    with pytest.raises(NoVideo, match="only sound"):
        probe(path)
    cover = tmp_path / "cover.mp3"
    plain = make.write_sound(tmp_path / "plain.mp3", make.Sound(make.tone(0.5), codec="libmp3lame"))
    _, jpeg = cv2.imencode(".jpg", make.texture(64, 64))
    picture = b"\0image/jpeg\0\x03\0" + jpeg.tobytes()
    frame = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    size = len(frame)
    sync_safe = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    cover.write_bytes(b"ID3\x03\0\0" + sync_safe + frame + plain.read_bytes())
    with pytest.raises(NoVideo, match="only sound"):
        probe(cover)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tiff"])
@pytest.mark.parametrize("renamed", [False, True])
def test_a_still_picture_is_named_as_one(tmp_path, suffix, renamed):
    path = tmp_path / ("still.mp4" if renamed else f"still{suffix}")
    path.write_bytes(cv2.imencode(suffix, make.texture(64, 64))[1].tobytes())
    with pytest.raises(NoVideo, match="still picture"):
        probe(path)


def test_playlists_and_lists_of_files_are_not_followed(tmp_path):
    target = make.write_clip(tmp_path / "target.mp4", make.moving_texture(3))
    segment = make.write_clip(tmp_path / "segment.ts", make.moving_texture(3))
    lists = {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{segment}\n#EXT-X-ENDLIST\n",
        "list.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{segment}\n#EXT-X-ENDLIST\n",
        "list.ffconcat": f"ffconcat version 1.0\nfile '{target}'\n",
        "list.txt": f"file '{target}'\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UnreadableMedia, match="not followed"):
            probe(tmp_path / name)


def test_numbered_pictures_are_not_opened_by_a_pattern(tmp_path):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"p{index}.png"), make.texture(64, 64))
    with pytest.raises(InputNotFound):
        probe(tmp_path / "p%d.png")


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_truncated_file_gives_what_is_left_and_says_so(tmp_path, suffix):
    # With its index at the front, half an MP4 is still half a video.
    options = {"movflags": "faststart"} if suffix == "mp4" else {}
    path = make.write_clip(
        tmp_path / f"whole.{suffix}",
        make.moving_texture(100),
        audio=make.Sound(make.tone(4.0)),
        container_options=options,
    )
    data = path.read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(data[: len(data) // 2])
    frames, _, log, _ = read(cut)
    assert 20 < len(frames) < 80
    assert log.last_time == frames[-1].time
    assert log.pictures == frames[-1].index + 1
    if suffix != "ts":  # a transport stream does not say how long it should be
        assert log.truncated


def test_a_last_picture_that_is_held_for_long_is_not_taken_for_a_cut(tmp_path):
    times = [0, 0.04, 0.08, 0.12, 6.0]
    path = make.write_clip(
        tmp_path / "slides.mp4",
        make.moving_texture(5),
        pts=times,
        audio=make.Sound(make.tone(6.0)),
    )
    frames, _, log, _ = read(path)
    assert [frame.time for frame in frames] == pytest.approx(times, abs=0.001)
    assert not log.truncated


def test_a_change_of_size_in_mid_stream_keeps_one_decode_size(tmp_path):
    large = make.write_clip(tmp_path / "large.ts", make.moving_texture(30, 480, 360))
    small = make.write_clip(tmp_path / "small.ts", make.moving_texture(30, 320, 240))
    both = tmp_path / "both.ts"
    both.write_bytes(large.read_bytes() + small.read_bytes())
    frames = read(both)[0]
    assert {frame.luma.shape for frame in frames} == {(360, 480)}
    assert len(frames) == pytest.approx(60, abs=3)
    times = [frame.time for frame in frames]
    assert all(a < b for a, b in itertools.pairwise(times))
    assert times[-1] == pytest.approx(59 / 25, abs=0.2)


def test_a_file_cut_before_its_index_is_unreadable(tmp_path):
    path = make.write_clip(tmp_path / "clip.mp4", make.moving_texture(25))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableMedia, match=r"clip\.mp4"):
        probe(path)


def test_a_damaged_stretch_is_skipped_and_counted(tmp_path):
    path = make.write_clip(
        tmp_path / "clip.mkv", make.moving_texture(75), options={"g": "10", "crf": "10"}
    )
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20_000] = bytes(20_000)
    path.write_bytes(data)
    frames, _, log, _ = read(path)
    assert 30 < len(frames) <= 75
    assert frames[-1].time == pytest.approx(74 / 25, abs=0.1)
    assert log.bad_packets + log.corrupt_pictures + log.repaired_timestamps > 0 or len(frames) < 75


# --- threads and files left behind


def decoding_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "aura-decode"]


def open_files(path: Path) -> int:
    links = list(Path("/proc/self/fd").iterdir())
    return sum(link.exists() and link.resolve() == path.resolve() for link in links)


def test_closing_early_stops_the_thread_and_closes_the_file(tmp_path):
    path = make.write_clip(
        tmp_path / "clip.mp4", make.moving_texture(200), audio=make.Sound(make.tone(8.0))
    )
    stream = decode(probe(path))
    next(stream)
    assert decoding_threads()
    stream.close()
    assert not decoding_threads()
    if Path("/proc/self/fd").is_dir():
        assert open_files(path) == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_in_the_consumer_stops_the_thread(tmp_path, error):
    path = make.write_clip(tmp_path / "clip.mp4", make.moving_texture(200))

    def consume() -> None:
        for item in decode(probe(path)):
            if isinstance(item, Frame) and item.index == 5:
                raise error

    with pytest.raises(error):
        consume()
    assert not decoding_threads()


def test_an_error_in_the_thread_reaches_the_consumer(tmp_path):
    path = make.write_clip(tmp_path / "clip.mp4", make.moving_texture(5))
    info = probe(path)
    path.write_bytes(b"replaced meanwhile")
    with pytest.raises(UnreadableMedia, match=r"clip\.mp4"):
        list(decode(info))
    assert not decoding_threads()


def test_a_consumer_that_stops_reading_does_not_keep_python_from_exiting(tmp_path):
    path = make.write_clip(tmp_path / "clip.mp4", make.moving_texture(200))
    code = (
        "import sys; from aura.media import decode, probe\n"
        "stream = decode(probe(sys.argv[1])); next(stream); print('left')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")


def test_extracted_sound_is_16_bit_mono_on_the_clock_of_the_pictures_and_gone_afterwards(tmp_path):
    audio = make.Sound(make.click(0.5, 1.5, 48_000), 48_000, start=0.5)
    path = flash_clip(tmp_path / "clip.mkv", 1.0, audio=audio)
    with extract_audio(path) as sound, wave.open(str(sound)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert int(np.argmax(np.abs(samples) > 6000)) / 16_000 == pytest.approx(1.0, abs=0.02)
    assert not sound.exists()
    assert not sound.parent.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_extracted_sound_is_gone_after_an_exception(tmp_path, error, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    path = make.write_clip(
        tmp_path / "clip.mp4", make.moving_texture(5), audio=make.Sound(make.tone(0.2))
    )
    with pytest.raises(error), extract_audio(path) as sound:  # noqa: PT012
        assert sound.exists()
        raise error
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("work", ["for item in decode(probe(path)): say()", EXTRACT])
def test_ctrl_c_ends_at_once_and_leaves_nothing_behind(tmp_path, work):
    path = make.write_clip(
        tmp_path / "clip.mp4", make.moving_texture(300), audio=make.Sound(make.tone(12.0))
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    code = (
        "import sys, time; from aura.media import decode, extract_audio, probe\n"
        "path = sys.argv[1]\n"
        "def say(): print('busy', flush=True); time.sleep(0.05)\n" + work
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    assert child.stdout.readline() == "busy\n"
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=10)
    assert child.returncode == -signal.SIGINT
    assert errors.strip().endswith("KeyboardInterrupt")
    assert list(scratch.iterdir()) == []


def test_extracting_sound_that_is_not_there_is_an_input_error_and_leaves_nothing(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    path = make.write_clip(tmp_path / "mute.mp4", make.moving_texture(5))
    with pytest.raises(InputError, match=r"mute\.mp4 has no sound"), extract_audio(path):
        pass
    assert list((tmp_path / "scratch").iterdir()) == []
