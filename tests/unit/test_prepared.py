"""A prepared set as training reads it: answers, stretches, damage, other processes."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import zipfile

import numpy as np
import pytest

from aura.errors import InputError, InputNotFound
from aura.training.data.clip import UNKNOWN, Span, Truth, truth_of
from aura.training.data.extract import Footage
from aura.training.data.manifest import Row, Segment, write_manifest
from aura.training.data.prepared import SHARD_COLUMNS, open_prepared
from aura.training.data.shards import read_shard, shard_name, write_shard

FACES = 10


def footage(seed=0, sound=True):
    """Two seconds at 5 a second from t = 1 s on; noise, so that nothing compresses by chance."""
    rng = np.random.default_rng(seed)
    count = 40 * 512 + 100 if sound else 0
    return Footage(
        fps=5.0,
        start=1.0,
        end=3.0,
        frame_ids=np.arange(FACES, dtype=np.int64) * 5,
        times=1.0 + np.arange(FACES) / 5,
        crops=rng.integers(0, 256, (FACES, 224, 224, 3), dtype=np.uint8),
        landmarks=rng.uniform(0, 224, (FACES, 5, 2)).astype(np.float32),
        motion=rng.uniform(0, 3, (FACES, 2)).astype(np.float32),
        sound_start=1.1 if sound else 0.0,
        sound=rng.integers(-32767, 32768, count).astype(np.int16),
        speech=np.repeat([0.1, 0.9], [20, 21]).astype(np.float32)[: 41 if sound else 0],
        people=1,
        sampled=FACES,
        without_face=0,
        with_several=0,
    )


def make_set(folder, rows, shots=None):
    """A prepared folder of made-up clips."""
    listed = []
    for number, row in enumerate(rows):
        shot = (shots or {}).get(row.path) or footage(number)
        info = write_shard(folder, shard_name(f"{number:064x}"[::-1]), shot)
        cells = (info.shard, info.content, info.fps, info.start, info.end, info.frames)
        cells = [*map(str, cells), str(info.speech), str(info.people)]
        extra = {**row.extra, **dict(zip(SHARD_COLUMNS, cells, strict=True))}
        listed.append(Row(**{**vars(row), "extra": extra}))
    write_manifest(folder / "clips.csv", listed)
    head = {"format": 1, "complete": True, "settings": {"fps": 5.0}, "manifest_sha256": "0" * 64}
    (folder / "prepared.json").write_text(json.dumps(head))
    return folder


ROWS = (Row("a.mp4", "real", split="train"), Row("b.mp4", "fake", split="val", group="g"))


@pytest.fixture
def made(tmp_path):
    return make_set(tmp_path / "set", ROWS)


def test_what_was_written_is_read_bit_by_bit(made):
    prepared = open_prepared(made)
    clip, was = prepared.load(1), footage(1)
    assert prepared.rows == list(ROWS)
    assert (prepared.split("train"), prepared.split("val"), prepared.split("")) == ([0], [1], [])
    assert np.array_equal(clip.faces.crops, was.crops)
    for name in ("frame_ids", "landmarks"):
        assert np.array_equal(getattr(clip, name), getattr(was, name))
    assert np.array_equal(clip.faces.times, was.times)
    assert np.array_equal(clip.faces.motion, was.motion)
    assert clip.voice.start == was.sound_start
    assert np.array_equal(np.round(clip.voice.samples * 32767), was.sound)
    assert np.array_equal(clip.voice.speech, was.speech)
    assert prepared.places[1].speech == pytest.approx(21 * 0.032, abs=1e-3)


@pytest.mark.parametrize("span", [(1.0, 1.2), (0.0, 9.0), (1.5, 2.5), (2.9, 3.0), (5.0, 6.0)])
def test_a_stretch_has_its_faces_and_all_blocks_of_sound_that_touch_it(made, span):
    prepared = open_prepared(made)
    whole, part = prepared.load(0), prepared.load(0, span)
    inside = (whole.faces.times >= span[0]) & (whole.faces.times < span[1])
    assert np.array_equal(part.faces.crops, whole.faces.crops[inside])
    assert np.array_equal(part.frame_ids, whole.frame_ids[inside])
    times = whole.voice.start + np.arange(len(whole.voice.samples)) / 16_000
    needed = np.flatnonzero((times >= span[0]) & (times < span[1]))
    first = round((part.voice.start - whole.voice.start) * 16_000)
    assert first % 512 == 0
    got = range(first, first + len(part.voice.samples))
    if len(needed):
        assert got.start <= needed[0]
        assert got.stop > needed[-1]
        assert len(got) <= len(needed) + 2 * 512
        assert np.array_equal(part.voice.samples, whole.voice.samples[got.start : got.stop])
    else:
        assert len(got) == 0
    assert len(part.voice.speech) == -(-len(part.voice.samples) // 512)


def load_first(prepared):
    return int(prepared.load(0).faces.crops.sum())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_the_same(made, method):
    prepared = open_prepared(made)
    expected = load_first(prepared)  # opened here before the fork
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(load_first, [prepared] * 4) == [expected] * 4


def test_an_opened_set_is_small_enough_to_send_around(made):
    prepared = open_prepared(made)
    prepared.load(0)
    assert len(pickle.dumps(prepared)) < 5000


def test_the_hash_follows_whatever_decides_training_and_nothing_else(tmp_path):
    rows = [Row("a.mp4", "real", split="train", licence="CC0"), ROWS[1]]
    hashes = {
        "as it was": open_prepared(make_set(tmp_path / "0", rows)).data_hash,
        "label": open_prepared(
            make_set(tmp_path / "1", [Row("a.mp4", "fake", split="train"), rows[1]])
        ).data_hash,
        "split": open_prepared(
            make_set(tmp_path / "2", [Row("a.mp4", "real", split="val"), rows[1]])
        ).data_hash,
        "pictures": open_prepared(make_set(tmp_path / "3", rows, {"a.mp4": footage(77)})).data_hash,
    }
    assert len(set(hashes.values())) == len(hashes)
    other_terms = [Row("a.mp4", "real", split="train", licence="MIT"), rows[1]]
    again = open_prepared(make_set(tmp_path / "4", other_terms)).data_hash
    assert again == hashes["as it was"]


def test_a_folder_that_is_no_prepared_set_says_how_to_make_one(tmp_path):
    with pytest.raises(InputNotFound, match="aura data prepare"):
        open_prepared(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.98], ids=["empty", "third", "almost"])
def test_a_cut_off_shard_is_called_damaged(made, share):
    prepared = open_prepared(made)
    path = made / prepared.places[0].shard
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=rf"{path.name} is damaged.*aura data prepare"):
        prepared.load(0)
    prepared.load(1)


def test_a_flipped_byte_in_a_face_is_noticed(made):
    prepared = open_prepared(made)
    path = made / prepared.places[0].shard
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="damaged"):
        prepared.load(0)


def test_a_shard_with_pickles_in_it_is_refused_and_runs_nothing(made, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    prepared = open_prepared(made)
    path = made / prepared.places[0].shard
    with np.load(path) as arrays:
        kept = dict(arrays)
    np.savez(path, **{**kept, "times": np.array([Bomb()], dtype=object)})
    with pytest.raises(InputError, match="damaged"):
        prepared.load(0)
    assert not (tmp_path / "exploded").exists()


def test_a_shard_of_a_newer_version_asks_for_an_upgrade(made):
    prepared = open_prepared(made)
    path = made / prepared.places[0].shard
    with np.load(path) as arrays:
        kept = dict(arrays)
    meta = {**json.loads(kept["meta"].tobytes()), "format": 2}
    np.savez(path, **{**kept, "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)})
    with pytest.raises(InputError, match=r"format 2.*upgrade"):
        prepared.load(0)


def test_a_set_of_a_newer_version_asks_for_an_upgrade(made):
    head = json.loads((made / "prepared.json").read_text())
    (made / "prepared.json").write_text(json.dumps({**head, "format": 99}))
    with pytest.raises(InputError, match=r"format 99.*upgrade"):
        open_prepared(made)


def test_a_shard_put_in_anothers_place_is_noticed(made):
    prepared = open_prepared(made)
    first, second = (made / place.shard for place in prepared.places)
    first.write_bytes(second.read_bytes())
    with pytest.raises(InputError, match=r"not the shard that clips\.csv lists"):
        prepared.load(0)


def test_a_table_can_not_lead_out_of_the_folder(made):
    table = (made / "clips.csv").read_text()
    shard = open_prepared(made).places[0].shard
    (made / "clips.csv").write_text(table.replace(shard, "../../secret.npz"))
    with pytest.raises(InputError, match=r"row of a\.mp4 makes no sense"):
        open_prepared(made)


def test_faces_are_stored_without_loss_in_plain_arrays(made):
    path = made / open_prepared(made).places[0].shard
    with zipfile.ZipFile(path) as archive:
        assert all(one.compress_type == zipfile.ZIP_STORED for one in archive.infolist())
        assert all(one.filename.endswith(".npy") for one in archive.infolist())
    assert np.array_equal(
        read_shard(made, path.relative_to(made).as_posix()).crops, footage().crops
    )


FAKE = {"path": "a.mp4", "label": "fake"}


@pytest.mark.parametrize(
    ("row", "speech", "expected"),
    [
        (Row("a.mp4", "real"), True, Truth(0, 0, 0, 0)),
        (Row("a.mp4", "real"), False, Truth(0, 0, UNKNOWN, UNKNOWN)),
        (Row(**FAKE), True, Truth(1, UNKNOWN, UNKNOWN, UNKNOWN)),
        (Row(**FAKE), False, Truth(1, 1, UNKNOWN, UNKNOWN)),  # nothing else can be fake
        (Row(**FAKE, visual_label="fake"), True, Truth(1, 1, UNKNOWN, 1)),
        (Row(**FAKE, visual_label="fake", audio_label="real"), True, Truth(1, 1, 0, 1)),
        (Row(**FAKE, audio_label="real"), True, Truth(1, 1, 0, 1)),
        (Row(**FAKE, visual_label="real"), True, Truth(1, 0, 1, 1)),
        (Row(**FAKE, visual_label="fake", audio_label="fake"), False, Truth(1, 1, UNKNOWN, -1)),
    ],
)
def test_answers_of_whole_clips(row, speech, expected):
    assert truth_of(row, (0.0, 10.0), speech=speech) == expected


def test_a_fake_in_parts_is_fake_there_alone():
    segments = (Segment("audio", 2.0, 3.0), Segment("visual", 8.0, 20.0))
    row = Row("a.mp4", "fake", "fake", "fake", segments=segments)
    truth = truth_of(row, (0.0, 10.0), speech=True)
    assert truth.spans == (
        Span("visual", 8.0, 10.0),
        Span("disagreement", 8.0, 10.0),
        Span("audio", 2.0, 3.0),
        Span("disagreement", 2.0, 3.0),
    )
    assert truth.within("audio", 1.0, 2.0) == 0
    assert truth.within("audio", 1.5, 2.5) == 1
    assert truth.within("disagreement", 8.5, 9.5) == 1
    cut = truth_of(row, (0.0, 5.0), speech=True)
    assert (cut.visual, cut.audio, cut.disagreement) == (0, 1, 1)


def test_a_part_that_names_no_stretch_is_fake_throughout():
    row = Row("a.mp4", "fake", "fake", "fake", segments=(Segment("audio", 2.0, 3.0),))
    truth = truth_of(row, (0.0, 10.0), speech=True)
    assert truth.within("visual", 6.0, 7.0) == 1
    assert truth.within("audio", 6.0, 7.0) == 0


def test_a_fake_whose_parts_all_lie_outside_shows_nothing_fake():
    row = Row("a.mp4", "fake", "real", "fake", segments=(Segment("audio", 12.0, 13.0),))
    assert truth_of(row, (0.0, 10.0), speech=True).spans == ()
