"""A single picture, or sound alone: the detectors that apply, and a verdict that says so."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

import media_factory as make

SECONDS = 4  # of the voice
SOUND = {
    "voice.ogg": ("libopus", 48_000),
    "voice.m4a": ("aac", 44_100),
    "voice.mp3": ("libmp3lame", 44_100),
    "voice.flac": ("flac", 44_100),
    "voice.wav": ("pcm_s16le", 16_000),
}


@pytest.fixture(scope="module")
def photo(portrait, tmp_path_factory):
    """A portrait of 512 pixels as PNG, JPEG and WebP; the JPEG has another picture behind it."""
    folder = tmp_path_factory.mktemp("photos")
    bgr = np.ascontiguousarray(portrait[:, :, ::-1])
    for suffix in (".png", ".jpg", ".webp"):
        (folder / f"photo{suffix}").write_bytes(cv2.imencode(suffix, bgr)[1].tobytes())
    with (folder / "photo.jpg").open("ab") as file:  # as phones append depth and previews
        file.write(cv2.imencode(".jpg", make.texture(320, 240))[1].tobytes())
    return folder


@pytest.fixture(scope="module")
def voice(speaking, tmp_path_factory):
    """The sample's voice in every format that a messenger or a recorder writes."""
    folder = tmp_path_factory.mktemp("voices")
    with make.av.open(str(speaking)) as source:
        frames = [one.to_ndarray().mean(axis=0) for one in source.decode(audio=0)]
        rate = source.streams.audio[0].rate
    samples = np.concatenate(frames)[None, : SECONDS * rate].astype(np.float32)
    for name, (codec, wanted) in SOUND.items():
        grid = np.arange(0, samples.shape[1], rate / wanted)
        moved = np.interp(grid, np.arange(samples.shape[1]), samples[0])[None].astype(np.float32)
        _write_sound(folder / name, codec, wanted, moved)
    return folder


def _write_sound(path, codec, rate, samples):
    with make.av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        resampler = make.av.AudioResampler(stream.codec_context.format or "s16", "mono", rate)
        frame = make.av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = rate
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))


def status_of(report):
    return {one.name: one.status for one in report.detectors}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_photo_gives_scores_of_its_face_and_never_more_than_uncertain(report_of, photo, suffix):
    report = report_of(photo / f"photo{suffix}")
    assert report.provenance.input.kind == "image"
    assert status_of(report) == {
        "visual_blend": "ok",
        "visual_generated": "ok",
        "sync": "not_applicable",
        "temporal": "not_applicable",
        "audio": "not_applicable",
    }
    prediction = report.prediction
    assert prediction.overall_class == "uncertain"
    assert "One picture is too little" in prediction.reason
    assert prediction.manipulation_confidence is not None
    interval = prediction.confidence_interval
    assert interval.high - interval.low > 0.5
    assert interval.widened_for[0] == "there is one picture only"
    assert (report.metadata.frames_analyzed, report.metadata.video_duration_sec) == (1, 0)
    assert report.provenance.video.width == 512
    used = {one.name for one in report.metadata.models_used}
    assert used == {"retinaface-mobilenet", "silero-vad", "visual-lite"}


def test_even_a_picture_that_looks_manipulated_throughout_is_not_called_so(
    report_of, photo, monkeypatch
):
    from aura.detectors import visual

    class Sure:
        def run(self, inputs):
            return {"logits": np.full((len(inputs["images"]), 2), 9.0, np.float32)}

    monkeypatch.setattr(visual, "load_model", lambda *_: Sure())
    report = report_of(photo / "photo.png")
    assert report.prediction.manipulation_confidence > 0.9
    assert report.prediction.overall_class == "uncertain"
    assert report.subjects[0].overall_class == "uncertain"


def test_a_picture_without_a_face_says_so(report_of, tmp_path):
    path = tmp_path / "wall.png"
    path.write_bytes(cv2.imencode(".png", make.texture(320, 240))[1].tobytes())
    report = report_of(path)
    assert report.prediction.manipulation_confidence is None
    assert "No face was found" in report.prediction.reason


def test_a_photo_that_a_phone_stored_lying_is_judged_upright(report_of, photo, portrait, tmp_path):
    lying = np.ascontiguousarray(np.rot90(portrait)[:, :, ::-1])
    plain = cv2.imencode(".jpg", lying)[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # turn right
    path = tmp_path / "turned.jpg"
    path.write_bytes(
        plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]
    )
    report = report_of(path)
    assert report.provenance.video.rotation == 90
    upright = report_of(photo / "photo.jpg").subjects[0]
    assert report.subjects[0].face_quality == pytest.approx(upright.face_quality, abs=0.02)


@pytest.mark.parametrize("name", list(SOUND))
def test_a_voice_is_listened_to_and_faces_are_not_asked_for(report_of, voice, name):
    report = report_of(voice / name)
    assert report.provenance.input.kind == "audio"
    assert report.provenance.video is None
    assert report.metadata.video_duration_sec == pytest.approx(SECONDS, abs=0.2)
    assert report.metadata.frames_analyzed == 0
    found = {one.name: one for one in report.detectors}
    assert found["audio"].status == "ok"
    assert found["audio"].details["speech_seconds"] > 2
    assert found["visual_blend"].reason == "The file has only sound."
    assert report.prediction.overall_class != "real"  # absence of traces proves nothing
    if report.prediction.manipulation_confidence is None:
        assert "proves nothing" in report.prediction.reason


def test_a_synthetic_voice_that_is_found_decides_for_a_file_of_sound(report_of, voice, monkeypatch):
    from aura.detectors.audio import AudioDetector

    monkeypatch.setattr(AudioDetector, "_calibrated", lambda *_: 4.0)
    report = report_of(voice / "voice.wav")
    assert report.prediction.overall_class == "fake"
    assert report.prediction.audio_anomalies


def test_a_tone_is_no_voice_and_the_reason_is_given(report_of, tmp_path):
    path = make.write_sound(tmp_path / "tone.m4a", make.Sound(make.tone(3.0)))
    report = report_of(path)
    assert report.prediction.manipulation_confidence is None
    assert "only sound" in report.prediction.reason
    assert "Too little speech" in report.prediction.reason


def test_a_long_recording_is_heard_in_parts_to_its_end(report_of, tmp_path):
    path = tmp_path / "long.flac"
    noise = np.random.default_rng(0).normal(0, 0.05, (1, 16_000 * 65)).astype(np.float32)
    _write_sound(path, "flac", 16_000, noise)
    report = report_of(path)
    assert report.metadata.video_duration_sec == pytest.approx(65, abs=0.1)
    assert not report.provenance.decoding.truncated
    cut = tmp_path / "cut.flac"
    cut.write_bytes(path.read_bytes()[:300_000])
    assert report_of(cut).provenance.decoding.truncated


@pytest.mark.parametrize("kind", ["photo", "voice"])
def test_pictures_and_sound_are_explained_signed_and_verified(run, photo, voice, tmp_path, kind):
    path = photo / "photo.jpg" if kind == "photo" else voice / "voice.ogg"
    code, _, err = run("analyze", path, "--explain", tmp_path / "why")
    assert code == 0, err
    (report,) = (tmp_path / "why").glob("*.report.json")
    told = json.loads(report.read_text())["explanation"]
    assert bool(told["maps"]) == (kind == "photo")
    assert bool(told["spectrogram"]) == (kind == "voice")
    code, out, err = run("verify", report, path)
    assert code == 0, out + err
    code, out, err = run("report", report, "--html", tmp_path / "page.html")
    assert code == 0, err
    page = (tmp_path / "page.html").read_text()
    assert ("single picture" if kind == "photo" else "sound recording") in page


def test_a_picture_that_is_not_decoded_is_refused_with_what_to_do(run, tmp_path):
    path = tmp_path / "phone.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
    code, _, err = run("analyze", path)
    assert code == 3
    assert "save it as JPEG or PNG" in err
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0" + b"nothing of the kind" * 50)
    code, _, err = run("analyze", broken)
    assert (code, err.count("\n")) == (3, 1)
    assert "broken.jpg" in err
