"""Probing and decoding real files: containers, codecs, which pictures, their shape."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

import media_factory as make
from aura.errors import UnreadableMedia, UsageError
from aura.media import (
    decode,
    decode_size,
    probe,
)
from media_reading import read, sampled, tone_frequency, untroubled, whole

# --- containers and codecs


@pytest.mark.parametrize(
    ("suffix", "codec", "sound_codec"),
    [
        ("mp4", "libx264", "aac"),
        ("mov", "libx264", "aac"),
        ("mkv", "libx264", "aac"),
        ("mp4", "libx265", "aac"),
        ("mov", "libx265", "aac"),
        ("mkv", "libx265", "libopus"),
        ("webm", "libvpx", "libopus"),
        ("webm", "libvpx-vp9", "libopus"),
        ("webm", "libsvtav1", "libopus"),
        ("avi", "mpeg4", "libmp3lame"),
        ("avi", "mjpeg", "pcm_s16le"),
        ("ts", "libx264", "aac"),
    ],
)
def test_every_promised_container_and_codec_gives_its_pictures_and_its_sound(
    tmp_path, suffix, codec, sound_codec
):
    for name in (codec, sound_codec):
        if not make.has_encoder(name):
            pytest.skip(f"this PyAV can't encode {name}")
    rate = 48_000
    path = make.write_clip(
        tmp_path / f"clip.{suffix}",
        make.moving_texture(25),
        codec=codec,
        audio=make.Sound(make.tone(1.0, rate), rate, codec=sound_codec),
    )
    frames, blocks, log, info = read(path)

    assert (info.video.width, info.video.height) == (320, 240)
    assert info.video.fps == pytest.approx(25, rel=0.01)
    assert info.audio is not None
    assert (info.audio.sample_rate, info.audio.channels) == (rate, 2)
    assert [frame.index for frame in frames] == list(range(25))
    gaps = np.diff([frame.time for frame in frames])
    if codec == "mpeg4":
        gaps = gaps[1:]  # the AVI writer leaves an empty slot for this encoder's delay
    assert gaps == pytest.approx(0.04, abs=0.0011)
    times = np.array([frame.time for frame in frames])
    grid = [int(np.argmax(times > instant / 5 - 0.0005)) for instant in range(5)]
    assert [frame.index for frame in sampled(frames)][:5] == grid
    assert untroubled(log)
    # The pictures are the ones that went in: a drift by 3 pixels each, bright where it was bright.
    for frame in sampled(frames):
        truth = np.roll(make.texture(320, 240), 3 * frame.index, axis=1)
        assert np.corrcoef(frame.rgb.ravel(), truth.ravel())[0, 1] > 0.9
        grey = cv2.cvtColor(truth, cv2.COLOR_RGB2GRAY)
        assert np.corrcoef(frame.luma.ravel(), grey.ravel())[0, 1] > 0.9
    sound = whole(blocks)
    assert len(sound) / 16_000 == pytest.approx(1.0, abs=0.08)
    assert tone_frequency(sound) == pytest.approx(440, abs=3)
    assert np.abs(sound[4000:12000]).max() == pytest.approx(0.5, abs=0.05)


def test_probe_tells_the_hash_and_size_of_the_very_bytes(tmp_path):
    import hashlib

    path = make.write_clip(tmp_path / "clip.mp4", make.moving_texture(5))
    info = probe(path)
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert info.size_bytes == path.stat().st_size
    assert info.duration == pytest.approx(0.2, abs=0.01)
    assert info.audio is None
    assert "mp4" in info.container


def test_a_path_with_spaces_and_other_scripts_works(tmp_path):
    folder = tmp_path / "Größe: 100% ünï %03d"
    folder.mkdir()
    path = make.write_clip(folder / "интервью 采访 a:b.mp4", make.moving_texture(5))
    assert len(read(path)[0]) == 5
    assert len(read(Path(os.path.relpath(path)))[0]) == 5


def test_two_runs_give_the_same_pictures_and_checksums(tmp_path):
    path = make.write_clip(tmp_path / "clip.mp4", make.moving_texture(20))
    first, second = read(path)[0], read(path)[0]
    assert [frame.checksum for frame in first] == [frame.checksum for frame in second]
    assert len({frame.checksum for frame in sampled(first)}) == 4
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.luma, b.luma)


def test_checksum_is_of_the_decoded_plane_before_scaling_and_rotation(tmp_path):
    import zlib

    import av

    path = make.write_clip(tmp_path / "clip.mp4", make.moving_texture(3, 1924, 1082), rotation=90)
    (frame,) = sampled(read(path, fps=5)[0])
    with av.open(str(path)) as container:
        picture = next(container.decode(video=0))
        plane = np.frombuffer(picture.planes[0], np.uint8)
        plane = plane.reshape(picture.height, -1)[:, : picture.width]
        assert frame.checksum == zlib.crc32(plane.tobytes())


def test_pictures_stay_valid_after_the_decoder_has_moved_on(tmp_path):
    levels = [20, 60, 100, 140, 180, 220] * 10
    path = make.write_clip(tmp_path / "clip.mp4", (make.flat(level) for level in levels))
    frames = read(path)[0]
    expected = 16 + np.array(levels) * 219 / 255
    assert [float(frame.luma.mean()) for frame in frames] == pytest.approx(expected, abs=3)
    assert not frames[0].luma.flags.writeable


# --- which pictures


@pytest.mark.parametrize(("fps", "count"), [(None, 10), (10, 20), (2, 4), (25, 50), (7, 14)])
def test_sampling_is_a_uniform_grid_in_time(tmp_path, fps, count):
    path = make.write_clip(tmp_path / "clip.mp4", make.moving_texture(50))
    times = [frame.time for frame in sampled(read(path, fps=fps)[0])]
    assert len(times) == count
    ideal = np.arange(count) / (fps or 5)
    assert np.all(np.array(times) - ideal >= -0.0005)
    assert np.all(np.array(times) - ideal < 0.04)


def test_input_of_1080_lines_is_sampled_at_ten_a_second_and_shrunk(tmp_path):
    path = make.write_clip(tmp_path / "clip.mp4", make.moving_texture(13, 1920, 1080))
    frames, _, _, info = read(path)
    assert (info.video.width, info.video.height) == (1920, 1080)
    assert [frame.index for frame in sampled(frames)] == [0, 3, 5, 8, 10]
    assert {frame.luma.shape for frame in frames} == {(720, 1280)}
    assert {frame.rgb.shape for frame in sampled(frames)} == {(720, 1280, 3)}


def test_shrinking_keeps_the_levels_of_the_luma(tmp_path):
    path = make.write_clip(tmp_path / "big.mp4", (make.flat(235, 1920, 1080) for _ in range(2)))
    small = make.write_clip(tmp_path / "small.mp4", (make.flat(235) for _ in range(2)))
    big_luma, small_luma = read(path)[0][0].luma, read(small)[0][0].luma
    assert float(big_luma.mean()) == pytest.approx(float(small_luma.mean()), abs=1.5)


@pytest.mark.parametrize(
    ("fps", "step"),
    [(24, 1), (25, 1), (30000 / 1001, 1), (30, 1), (50, 2), (60000 / 1001, 2), (60, 2), (240, 8)],
)
def test_motion_pictures_are_complete_up_to_30_a_second_and_thinned_evenly_above(
    tmp_path, fps, step
):
    pictures = (make.flat(20 + i % 200, 64, 64) for i in range(round(fps)))
    path = make.write_clip(tmp_path / "clip.mkv", pictures, fps=fps)
    frames = read(path)[0]
    assert set(np.diff([frame.index for frame in frames])) == {step}
    assert len(sampled(frames)) == 5


def test_one_picture_a_second_gives_each_picture_once(tmp_path):
    path = make.write_clip(tmp_path / "clip.mp4", make.moving_texture(4), fps=1)
    frames = read(path)[0]
    assert [(frame.index, frame.time) for frame in sampled(frames)] == [
        (0, 0.0),
        (1, 1.0),
        (2, 2.0),
        (3, 3.0),
    ]


def test_variable_frame_rate_is_sampled_by_time_not_by_count(tmp_path):
    # A second at 30 pictures a second, one at 5, one at 15.
    times = [i / 30 for i in range(30)] + [1 + i / 5 for i in range(5)]
    times += [2 + i / 15 for i in range(15)]
    path = make.write_clip(tmp_path / "clip.mp4", make.moving_texture(len(times)), pts=times)
    frames, _, log, _ = read(path)
    assert [frame.time for frame in frames] == pytest.approx(times, abs=0.001)
    assert [frame.time for frame in sampled(frames)] == pytest.approx(np.arange(15) / 5, abs=0.035)
    assert log.repaired_timestamps == 0


def test_three_pictures_and_four_tenths_of_a_second_are_enough_to_decode(tmp_path):
    three = make.write_clip(tmp_path / "three.mp4", make.moving_texture(3))
    assert [frame.index for frame in read(three)[0]] == [0, 1, 2]
    short = make.write_clip(
        tmp_path / "short.mp4", make.moving_texture(10), audio=make.Sound(make.tone(0.4))
    )
    frames, blocks, log, _ = read(short)
    assert len(frames) == 10
    assert len(whole(blocks)) / 16_000 == pytest.approx(0.4, abs=0.05)
    assert not log.truncated


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 1e9])
def test_an_absurd_sampling_rate_is_a_usage_error(tmp_path, fps):
    info = probe(make.write_clip(tmp_path / "clip.mp4", make.moving_texture(3)))
    with pytest.raises(UsageError, match="--fps"):
        decode(info, fps=fps)


# --- shape


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotated_phone_video_comes_out_upright(tmp_path, rotation):
    upright = make.corners(320, 240)
    coded = np.rot90(upright, k=rotation // 90)  # counter-clockwise, undone by the player
    path = make.write_clip(tmp_path / "phone.mp4", [coded] * 3, rotation=rotation)
    frames, _, _, info = read(path)
    assert (info.video.width, info.video.height, info.video.rotation) == (320, 240, rotation)
    for image in (frames[0].luma, frames[0].rgb[..., 1]):
        assert image.shape == (240, 320)
        assert image[:110, :150].min() > 180
        assert image[130:].max() < 60
        assert image[:, 170:].max() < 60


def test_8000_by_8000_is_shrunk_on_decode(tmp_path):
    path = make.write_clip(tmp_path / "huge.avi", [make.flat(128, 8000, 8000)] * 2, codec="mjpeg")
    frames, _, _, info = read(path)
    assert (info.video.width, info.video.height) == (8000, 8000)
    assert frames[0].rgb.shape == (1280, 1280, 3)


def test_pictures_too_large_for_memory_are_refused_before_decoding(tmp_path):
    path = make.write_clip(tmp_path / "bomb.avi", [make.flat(0, 640, 480)] * 2, codec="mjpeg")
    data = path.read_bytes()
    # The same file with 60000 x 60000 in its stream header and in its JPEG pictures.
    size = (640).to_bytes(4, "little") + (480).to_bytes(4, "little")
    assert data.count(size) >= 1
    data = data.replace(size, (60_000).to_bytes(4, "little") * 2)
    jpeg = (480).to_bytes(2, "big") + (640).to_bytes(2, "big")
    assert data.count(b"\x08" + jpeg) >= 1
    path.write_bytes(data.replace(b"\x08" + jpeg, b"\x08" + (60_000).to_bytes(2, "big") * 2))
    with pytest.raises(UnreadableMedia, match=r"bomb\.avi"):
        probe(path)


@pytest.mark.parametrize("size", [(426, 240), (641, 481), (100, 1000), (1280, 720)])
def test_small_and_odd_sizes_are_left_as_they_are(tmp_path, size):
    path = make.write_clip(
        tmp_path / "odd.mkv", make.moving_texture(3, *size), pixel_format="yuv444p"
    )
    frames = read(path)[0]
    assert frames[0].luma.shape == frames[0].rgb.shape[:2] == size[::-1]


def test_non_square_pixels_are_made_square(tmp_path):
    path = make.write_clip(
        tmp_path / "pal.mkv",
        make.moving_texture(3, 360, 288),
        options={"x264-params": "sar=16/15"},
    )
    frames, _, _, info = read(path)
    assert (info.video.width, info.video.height) == (384, 288)
    assert frames[0].luma.shape == (288, 384)


@pytest.mark.parametrize(
    ("codec", "pixel_format"),
    [
        ("libx264", "yuv420p10le"),
        ("libx264", "yuv422p"),
        ("libx264", "yuvj420p"),
        ("ffv1", "gray"),
        ("ffv1", "bgr0"),
        ("ffv1", "gray16le"),
    ],
)
def test_other_pixel_formats_decode_to_eight_bits(tmp_path, codec, pixel_format):
    path = make.write_clip(
        tmp_path / "clip.mkv", make.moving_texture(3), codec=codec, pixel_format=pixel_format
    )
    frames, _, _, info = read(path)
    assert info.video.pixel_format == pixel_format
    truth = make.texture(320, 240)
    grey = cv2.cvtColor(truth, cv2.COLOR_RGB2GRAY)
    assert frames[0].luma.dtype == np.uint8
    assert np.corrcoef(frames[0].luma.ravel(), grey.ravel())[0, 1] > 0.95
    wanted = truth if "gray" not in pixel_format else np.repeat(grey[..., None], 3, axis=2)
    assert np.abs(frames[0].rgb.astype(float) - wanted).mean() < 12
    assert isinstance(frames[0].checksum, int)


def test_decode_size_keeps_the_aspect_and_is_even_when_it_shrinks():
    assert decode_size(1920, 1080) == (1280, 720)
    assert decode_size(1080, 1920) == (720, 1280)
    assert decode_size(320, 240) == (320, 240)
    assert decode_size(8000, 7) == (1280, 2)
