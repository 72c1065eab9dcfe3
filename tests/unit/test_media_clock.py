"""One clock for pictures and sound: offsets, holes, broken time stamps, layouts and rates."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import media_factory as make
from media_reading import flash_clip, flash_time, onset, read, tone_frequency, untroubled, whole

# --- clocks


@pytest.mark.parametrize(
    ("suffix", "kwargs"),
    [
        ("mp4", {}),
        ("ts", {"start": 100.0}),
        ("mkv", {"start": 5.0}),
        ("avi", {"codec": "mpeg4"}),
        ("webm", {"codec": "libvpx"}),
    ],
)
def test_a_flash_and_a_click_are_at_the_same_time(tmp_path, suffix, kwargs):
    start = kwargs.get("start", 0.0)
    codec = {"webm": "libopus", "avi": "libmp3lame"}.get(suffix, "aac")
    audio = make.Sound(make.click(1.0, 2.0, 48_000), 48_000, codec=codec, start=start)
    path = flash_clip(tmp_path / f"clip.{suffix}", 1.0, audio=audio, **kwargs)
    frames, blocks, _, _ = read(path)
    # The encoders' own delay is in the file; lame's is not compensated in AVI.
    slack = 0.06 if suffix == "avi" else 0.02
    assert onset(blocks) == pytest.approx(flash_time(frames), abs=slack)
    assert flash_time(frames) == pytest.approx(1.0, abs=0.08)
    assert frames[0].time == pytest.approx(0.0, abs=0.08)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_sound_that_starts_later_than_the_pictures_stays_where_it_belongs(tmp_path, suffix):
    audio = make.Sound(make.click(0.5, 1.5, 48_000), 48_000, start=0.5)
    path = flash_clip(tmp_path / f"late.{suffix}", 1.0, audio=audio)
    frames, blocks, _, info = read(path)
    assert info.audio.start == pytest.approx(0.5, abs=0.03)
    assert blocks[0].start == pytest.approx(0.5, abs=0.03)
    assert onset(blocks) == pytest.approx(flash_time(frames), abs=0.02)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_pictures_that_start_later_than_the_sound_stay_where_they_belong(tmp_path, suffix):
    audio = make.Sound(make.click(1.4, 2.4, 48_000), 48_000)
    path = flash_clip(tmp_path / f"late.{suffix}", 1.0, audio=audio, start=0.4)
    frames, blocks, _, _ = read(path)
    assert frames[0].time == pytest.approx(0.4, abs=0.03)
    assert onset(blocks) == pytest.approx(flash_time(frames), abs=0.02)


def test_a_hole_in_the_sound_becomes_silence_and_keeps_what_follows_in_place(tmp_path):
    import av

    path = flash_clip(
        tmp_path / "whole.mkv",
        1.5,
        audio=make.Sound(make.click(1.5, 2.0, 48_000), 48_000, codec="pcm_s16le"),
    )
    holed = tmp_path / "holed.mkv"
    with av.open(str(path)) as source, av.open(str(holed), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            sound = packet.stream.type == "audio"
            if packet.dts is None or (sound and 0.5 < packet.pts * packet.time_base < 1.0):
                continue
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
    frames, blocks, log, _ = read(holed)
    assert log.sound_gaps >= 1
    assert len(whole(blocks)) / 16_000 == pytest.approx(2.0, abs=0.06)
    assert onset(blocks) == pytest.approx(flash_time(frames), abs=0.02)


@pytest.mark.parametrize(
    ("pts", "what"),
    [
        ([0, 0.04, 0.08, 0.02, 0.16, 0.20, 0.24, 0.28], "one goes back"),
        ([0, 0.04, 0.08, 0.12, 5000, 0.20, 0.24, 0.28], "one leaps far ahead"),
        ([0, 0.04, 0.08, 0.12, 8.0, 0.20, 0.24, 0.28], "one leaps ahead"),
        ([0, 0.04, 0.04, 0.12, 0.12, 0.20, 0.24, 0.28], "some repeat"),
        ([50, 50.04, 50.08, 50.12, 0, 0.04, 0.08, 0.12], "the clock starts again"),
    ],
)
def test_broken_timestamps_are_repaired_and_counted(tmp_path, pts, what):
    path = make.write_raw_times(tmp_path / "broken.nut", make.moving_texture(len(pts)), pts)
    frames, _, log, _ = read(path)
    times = [frame.time for frame in frames]
    assert len(times) == len(pts)
    assert all(a < b for a, b in itertools.pairwise(times)), what
    assert times == pytest.approx(np.arange(8) * 0.04, abs=0.021), what
    assert log.repaired_timestamps >= 1


# --- sound


@pytest.mark.parametrize(
    ("rate", "layout", "channels", "codec", "suffix"),
    [
        (44_100, "stereo", 2, "aac", "mp4"),
        (48_000, "mono", 1, "aac", "mp4"),
        (8_000, "mono", 1, "pcm_s16le", "mkv"),
        (48_000, "5.1", 6, "ac3", "mkv"),
        (96_000, "stereo", 2, "flac", "mkv"),
        (16_000, "mono", 1, "pcm_s16le", "avi"),
        (22_050, "stereo", 2, "pcm_s16le", "avi"),
    ],
)
def test_any_layout_and_rate_becomes_16_khz_mono(  # noqa: PLR0917
    tmp_path, rate, layout, channels, codec, suffix
):
    audio = make.Sound(make.tone(1.0, rate, channels), rate, layout, codec)
    path = make.write_clip(tmp_path / f"clip.{suffix}", make.moving_texture(25), audio=audio)
    _, blocks, _, info = read(path)
    sound = whole(blocks)
    assert (info.audio.sample_rate, info.audio.channels) == (rate, channels)
    assert sound.dtype == np.float32
    assert len(sound) / 16_000 == pytest.approx(1.0, abs=0.08)
    assert tone_frequency(sound) == pytest.approx(440, abs=3)
    assert np.abs(sound).max() <= 1.0
    if channels <= 2:
        assert np.abs(sound[4000:12000]).max() == pytest.approx(0.5, abs=0.05)


def test_full_scale_stereo_is_mixed_without_clipping(tmp_path):
    audio = make.Sound(make.tone(1.0, 48_000) * 1.9, 48_000, codec="flac")
    path = make.write_clip(tmp_path / "loud.mkv", make.moving_texture(25), audio=audio)
    sound = whole(read(path)[1])[4000:12000]
    assert np.abs(sound).max() == pytest.approx(0.95, abs=0.02)


def test_video_without_sound_gives_pictures_only(tmp_path):
    path = make.write_clip(tmp_path / "mute.mp4", make.moving_texture(5))
    frames, blocks, log, info = read(path)
    assert info.audio is None
    assert (len(frames), blocks, untroubled(log)) == (5, [], True)
