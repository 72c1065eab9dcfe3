"""Content credentials: signed by the test's own certificates, read, and noticed when broken."""

from __future__ import annotations

import datetime
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import media_factory as make
from aura import credentials

c2pa = pytest.importorskip("c2pa", reason="aura-veracity[report] is not installed")

ISO = "mov,mp4,m4a,3gp,3g2,mj2"
NASTY = "<b>clip</b>\x1b[31m\u202e" + "x" * 1000
SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def certificate(subject, issuer, public, key, authority, *, is_authority):
    def name(common):
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, common),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test"),
            ]
        )

    now = datetime.datetime.now(datetime.UTC)
    usage = dict.fromkeys(
        (
            *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("encipher_only", "decipher_only"),
        ),
        False,
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not is_authority,
                key_cert_sign=is_authority,
                crl_sign=is_authority,
                **usage,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False
        )
    )
    if not is_authority:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        made = made.add_extension(purpose, critical=False)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make.write_clip(tmp_path_factory.mktemp("plain") / "a.mp4", make.moving_texture(10))


@pytest.fixture(scope="module")
def signed(plain, tmp_path_factory):
    """The clip with a manifest by a signer that no trust list knows."""
    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    above = root.public_key()
    chain = certificate(
        "Camera Maker", "Test CA", leaf.public_key(), root, above, is_authority=False
    ) + certificate("Test CA", "Test CA", above, root, above, is_authority=True)

    def sign(data):
        r, s = decode_dss_signature(leaf.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    manifest = {
        "claim_generator_info": [{"name": "test camera", "version": "1"}],
        "title": NASTY,
        "assertions": [
            {
                "label": "c2pa.actions",
                "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": SOURCE}]},
            }
        ],
    }
    target = tmp_path_factory.mktemp("signed") / "a.mp4"
    signer = c2pa.Signer.from_callback(sign, c2pa.C2paSigningAlg.ES256, chain, None)
    with plain.open("rb") as source, target.open("w+b") as made:
        c2pa.Builder(json.dumps(manifest)).sign(signer, "video/mp4", source, made)
    return target


def test_a_manifest_that_fits_is_read_and_its_signer_not_vouched_for(signed):
    found = credentials.examine(signed, ISO)
    assert found.status == "valid"
    assert found.generator == "test camera 1"
    assert found.signer == "Camera Maker, Test"
    assert found.actions == ("c2pa.created (trainedAlgorithmicMedia)",)
    assert any("untrusted" in one for one in found.problems)


def test_what_a_manifest_claims_is_one_bounded_line_without_control_characters(signed):
    title = credentials.examine(signed, ISO).title
    assert len(title) <= credentials.MAX_TEXT
    assert title.startswith("<b>clip</b>")
    assert title.isprintable()


def test_a_byte_changed_after_signing_makes_it_invalid(signed, tmp_path):
    data = bytearray(signed.read_bytes())
    data[-200] ^= 1
    edited = tmp_path / "edited.mp4"
    edited.write_bytes(data)
    found = credentials.examine(edited, ISO)
    assert found.status == "invalid"
    assert any("mismatch" in one for one in found.problems)


def test_no_manifest_is_no_sign_of_anything(plain):
    found = credentials.examine(plain, ISO)
    assert (found.status, found.problems) == ("absent", ())


def test_without_the_reader_a_manifest_is_still_noticed(signed, plain, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "c2pa", None)
    assert credentials.examine(signed, ISO).status == "unread"
    assert credentials.examine(plain, ISO).status == "absent"
