"""Canonical JSON, keys, and signatures that tell an edited report from a stranger's."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from made_up import heard, report

from aura import registry, signing
from aura.errors import ReportError

if TYPE_CHECKING:
    from aura.report import Report


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    monkeypatch.setattr(signing, "keys_dir", lambda: folder / "keys")
    return folder


@pytest.fixture
def made(tmp_path):
    clip = tmp_path / "talk.mp4"
    clip.write_bytes(b"made-up bytes")
    return report(clip, [heard("blend", 1.0), heard("generated", -2.0)])


def as_read(made: Report):
    return json.loads(made.to_json())


# The vectors of RFC 8785, 3.2.2 and 3.2.3, and of its appendix B.
def test_canonical_form_is_that_of_the_standard():
    text = (
        r'{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],'
        r'"string":"\u20ac$\u000F\u000aA\u0027\u0042\u0022\u005c\\\"\/",'
        r'"literals":[null,true,false]}'
    )
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert signing.canonical(json.loads(text)) == expected.encode()


def test_canonical_keys_are_sorted_by_utf16():
    text = r'{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}'
    ordered = list(json.loads(signing.canonical(json.loads(text))))
    assert ordered == ["\r", "1", "\x80", "ö", "€", "😀", "\ufb33"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (9007199254740992.0, "9007199254740992"),
        (295147905179352830000.0, "295147905179352830000"),
        (999999999999999900000.0, "999999999999999900000"),
        (1e21, "1e+21"),
        (9.999999999999997e-7, "9.999999999999997e-7"),
        (0.000001, "0.000001"),
        (-0.0, "0"),
    ],
)
def test_canonical_numbers_are_those_of_the_standard(value, text):
    assert signing.canonical(value) == text.encode()


def test_a_signed_report_verifies_after_a_round_trip_through_text(made):
    signed = signing.sign(made, who="Examiner One")
    found = signing.check(as_read(signed))
    assert found.status == "own"
    assert found.signature.signed_by == "Examiner One"
    assert signed.deterministic_digest == made.deterministic_digest == signed.digest()


def leaves(value, place=()):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*place, index))
    else:
        yield place, value


def changed(value):
    if isinstance(value, bool) or value is None:
        return "x"
    return value + 1 if isinstance(value, (int, float)) else value + "x"


def test_no_single_value_can_be_changed_unnoticed(made):
    document = as_read(signing.sign(made))
    places = list(leaves(document))
    assert len(places) > 200
    for place, value in places[:: max(1, len(places) // 120)] + [
        one for one in places if one[0][0] == "signature"
    ]:
        edited = json.loads(json.dumps(document))
        inner = edited
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = changed(value)
        assert signing.check(edited).status == "altered", place


def test_added_and_removed_fields_are_noticed(made):
    document = as_read(signing.sign(made))
    assert signing.check({**document, "note": "added"}).status == "altered"
    assert signing.check({k: v for k, v in document.items() if k != "limits"}).status == "altered"
    assert signing.check({**document, "signature": None}).status == "unsigned"


def test_a_strangers_signature_is_unknown_until_their_key_is_trusted(made, tmp_path, monkeypatch):
    theirs = tmp_path / "theirs"
    monkeypatch.setattr(signing, "keys_dir", lambda: theirs)
    document = as_read(signing.sign(made, who="Lab B"))
    (tmp_path / "lab-b.pem").write_text(signing.public_pem())
    monkeypatch.setattr(signing, "keys_dir", lambda: tmp_path / "mine")
    assert signing.check(document).status == "unknown"
    key_id = signing.trust("lab-b", tmp_path / "lab-b.pem")
    found = signing.check(document)
    assert (found.status, found.known_as) == ("trusted", "lab-b")
    assert key_id == document["signature"]["key_id"]
    with pytest.raises(ReportError, match="trusted as 'lab-b' already"):
        signing.trust("lab-b", tmp_path / "lab-b.pem")


def test_a_forger_cannot_name_our_key_for_theirs(made):
    ours = signing.sign(made)
    forged = signing.sign(made, Ed25519PrivateKey.generate(), who="us")
    document = as_read(forged)
    document["signature"]["key_id"] = ours.signature.key_id
    assert signing.check(document).status == "altered"
    document = as_read(forged)
    document["signature"]["public_key"] = ours.signature.public_key
    assert signing.check(document).status == "altered"


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX")
def test_the_key_is_private_to_its_owner_and_refused_when_it_is_not(made):
    signing.sign(made)
    path = signing.keys_dir() / signing.PRIVATE_KEY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    with pytest.raises(ReportError, match="chmod 600"):
        signing.sign(made)


def test_the_key_is_made_once_even_by_many_at_a_time():
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(signing.own_key().private_bytes_raw()))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [path.name for path in signing.keys_dir().iterdir()] == [signing.PRIVATE_KEY]


def test_a_damaged_key_is_told_and_not_replaced():
    signing.own_key()
    path = signing.keys_dir() / signing.PRIVATE_KEY
    path.write_bytes(b"nothing")
    with pytest.raises(ReportError, match="no Ed25519 key"):
        signing.own_key()
    assert path.read_bytes() == b"nothing"


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 2}', '{"a": NaN}', "[1]", "{", "\udcff", "[" * 100_000],
    ids=["twice", "nan", "list", "broken", "no utf-8", "deep"],
)
def test_ambiguous_or_broken_json_is_refused(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ReportError):
        signing.read_document(path)


def test_signatures_of_the_wrong_kind_do_not_pass(made):
    document = as_read(signing.sign(made))
    for value in ("", "!", base64.b64encode(bytes(64)).decode(), base64.b64encode(b"x").decode()):
        document["signature"]["value"] = value
        assert signing.check(document).status == "altered"


def test_keys_lie_in_the_users_folder(monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setenv(registry.HOME_VARIABLE, str(tmp_path))
    assert signing.keys_dir() == tmp_path / "keys"
