"""Supabase: policies tried as different users on real PostgreSQL, tokens, the bucket."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import servers
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from deployment import neighbour
from gate import gate_before
from in_thread import serving
from made import finished_report, wish
from supabase import as_user, bucket, make_project

from aura.cli import run
from aura.errors import InputNotFound, UsageError
from aura.integrations.supabase.settings import read_supabase_settings
from aura.service.settings import Settings
from aura.service.storage import StorageAway, open_storage

pytest.importorskip("jwt", reason="needs the extra: pip install 'aura-veracity[supabase]'")

import jwt

from aura.integrations.supabase.sign_in import ASK_AGAIN, SignIn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deployment import Neighbour
    from in_thread import Api
    from supabase import Bucket

ANN, BOB = (str(uuid.UUID(int=number)) for number in (1, 2))
SECRET = "a secret of a project, long enough for HS256"
ISSUER = "https://project.supabase.co/auth/v1"
COLUMNS = "job_id, verdict, score, detector_scores, model_metadata"


def sql(part: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(["supabase", "sql", part]) == 0
    return capsys.readouterr().out


@pytest.fixture
def project(postgres_url: str, capsys: pytest.CaptureFixture[str]) -> str:
    """A project whose product has a table of results already, with a row in it."""
    url = servers.new_postgres_database(postgres_url)
    make_project(url, ANN, BOB)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE public.detection_history (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),"
            " user_id uuid REFERENCES auth.users, filename text, model_metadata jsonb)"
        )
        connection.execute(
            "INSERT INTO public.detection_history (user_id, filename) VALUES (%s, 'old.mp4')", [ANN]
        )
        for _ in range(2):  # running it again changes nothing
            connection.execute(sql("history", capsys))
        for user, job in ((ANN, "a"), (BOB, "b"), (None, "c")):
            connection.execute(
                "INSERT INTO public.detection_history (user_id, job_id, verdict, detector_scores)"
                " VALUES (%s, %s, 'fake', %s)",
                [user, job, json.dumps({"lip_sync_error": 0.9})],
            )
    return url


def test_old_rows_get_the_defaults_and_the_index_is_used(project: str) -> None:
    with psycopg.connect(project) as connection:
        old = connection.execute(
            "SELECT filename, detector_scores, model_metadata, job_id, status"
            " FROM public.detection_history WHERE filename IS NOT NULL"
        ).fetchall()
        assert old == [("old.mp4", {}, {}, None, "completed")]
        connection.execute("SET enable_seqscan = off")
        plan = connection.execute(
            "EXPLAIN SELECT 1 FROM public.detection_history"
            """ WHERE detector_scores @> '{"lip_sync_error": 0.9}'"""
        ).fetchall()
        assert "detection_history_scores_idx" in str(plan)


def test_users_see_their_own_rows_and_change_none_and_the_service_role_may_everything(
    project: str,
) -> None:
    table = "public.detection_history"
    seen = f"SELECT coalesce(job_id, filename) FROM {table} ORDER BY 1"
    for role, user, expected in (
        ("authenticated", ANN, ["a", "old.mp4"]),
        ("authenticated", BOB, ["b"]),
        ("authenticated", str(uuid.UUID(int=3)), []),
        ("authenticated", None, []),
        ("service_role", None, ["a", "b", "c", "old.mp4"]),
    ):
        with as_user(project, role, user) as connection:
            assert [row[0] for row in connection.execute(seen)] == expected, (role, user)
    for attempt in (
        seen,
        f"INSERT INTO {table} (user_id) VALUES ('{ANN}')",
        f"UPDATE {table} SET verdict = 'real'",
        f"DELETE FROM {table}",
        f"TRUNCATE {table}",
    ):
        for role in ("anon", "authenticated"):
            if (role, attempt) == ("authenticated", seen):
                continue
            with (
                as_user(project, role, ANN) as connection,
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                connection.execute(attempt)
    with as_user(project, "service_role") as connection:
        assert connection.execute(f"UPDATE {table} SET verdict = 'real'").rowcount == 4
        assert connection.execute(f"DELETE FROM {table}").rowcount == 4


def token(
    key: Any = SECRET, algorithm: str = "HS256", kid: str | None = None, **changes: Any
) -> str:
    claims = {
        "sub": ANN,
        "aud": "authenticated",
        "iss": ISSUER,
        "role": "authenticated",
        "exp": int(time.time()) + 600,
        **changes,
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers={"kid": kid} if kid else None)


@pytest.fixture
def api(
    project: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Api]:
    """Aura in a schema of its own in the project's database, with its users' sign-in."""
    monkeypatch.setenv("AURA_SUPABASE_SIGN_IN", "1")
    monkeypatch.setenv("AURA_SUPABASE_URL", "https://project.supabase.co")
    monkeypatch.setenv("AURA_SUPABASE_JWT_SECRET", SECRET)
    with psycopg.connect(project, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA aura")
        with serving(
            tmp_path, database_url=f"{project}?options=-csearch_path%3Daura", only_local=True
        ) as running:
            for _ in range(2):
                connection.execute(sql("copy", capsys))
            yield running


def test_a_users_result_is_in_their_history_and_in_nobody_elses(api: Api, project: str) -> None:
    def history(user: str) -> list[Any]:
        with as_user(project, "authenticated", user) as connection:
            query = f"SELECT {COLUMNS} FROM public.detection_history WHERE told_at IS NOT NULL"
            return connection.execute(query).fetchall()

    service = api.service
    for owner in (ANN, "ann-with-an-api-key"):
        service.store.submit(wish(owner))
        job = service.claims.claim("w")
        assert job is not None
        service.claims.complete(job, finished_report("fake"))
    with api.client(token()) as ann, api.client(token(sub=BOB)) as bob:
        (shown,) = ann.get("/jobs").json()["jobs"]
        report = ann.get(shown["links"]["self"]).json()["report"]
        assert bob.get("/jobs").json()["jobs"] == []
        assert bob.get(shown["links"]["self"]).status_code == 404
        metadata = report["metadata"]
        expected = (shown["job_id"], "fake", 0.3, report["detector_scores"], metadata)
        assert history(ANN) == [expected]
        assert history(BOB) == []
        with as_user(project, "service_role") as connection:
            assert connection.execute(
                "SELECT count(*) FROM public.detection_history WHERE told_at IS NOT NULL"
            ).fetchone() == (1,)
        assert ann.delete(shown["links"]["self"]).status_code == 204
        assert history(ANN) == []


def test_auras_own_tables_are_out_of_every_users_reach(api: Api, project: str) -> None:
    for role in ("anon", "authenticated"):
        for table in ("detection_jobs", "api_keys", "webhook_secrets", "detection_history"):
            with (
                as_user(project, role, ANN) as connection,
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                connection.execute(f"SELECT * FROM aura.{table}")


def unsigned() -> str:
    head, body, _ = token().split(".")
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    return f"{head}.{body}."


def test_only_tokens_of_users_of_the_project_let_in(api: Api) -> None:
    head, body, signature = token().split(".")
    other = token(sub=BOB).split(".")[1]
    refused = [
        None,
        "",
        "aura_0123",
        "a.b.c",
        "x" * 9000,
        unsigned(),
        f"{head}.{other}.{signature}",
        f"{head}.{body}.",
        token("another secret, just as long as the other one"),
        token(SECRET, "HS512"),
        token(exp=int(time.time()) - 60),
        token(exp=None),
        token(aud="anon"),
        token(aud=None),
        token(iss="https://other.supabase.co/auth/v1"),
        token(role="anon"),
        token(role="service_role"),
        token(role=None),
        token(sub="local"),
        token(sub=None),
        token(is_anonymous=True),
        token(nbf=int(time.time()) + 120),
    ]
    for text in refused:
        with api.client(text) as client:
            assert client.get("/jobs").status_code == 401, text
    for text in (token(), token(exp=int(time.time()) - 5)):  # clocks differ a little
        with api.client(text) as client:
            assert client.get("/jobs").status_code == 200


@pytest.fixture
def web() -> Iterator[Neighbour]:
    with neighbour() as server:
        yield server


def signing_in(web: Neighbour, url: str | None = None, **more: str) -> SignIn:
    environment = {"AURA_SUPABASE_SIGN_IN": "1", "AURA_SUPABASE_URL": url or web.url("")}
    return SignIn(read_supabase_settings({**environment, **more}), (web.host,))


def published(web: Neighbour) -> list[Any]:
    return list(json.loads(web.files["/auth/v1/.well-known/jwks.json"])["keys"])


def forge(secret: bytes, kid: str) -> str:
    """A token signed with bytes that the library would not take for a secret."""
    head, body, _ = token(kid=kid).split(".")
    digest = hmac.new(secret, f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def publish(web: Neighbour, **keys: Any) -> None:
    """Put public keys where Supabase has them."""
    found = []
    for name, key in keys.items():
        algorithm = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256"
        kind = jwt.algorithms.get_default_algorithms()[algorithm]
        found.append({**json.loads(kind.to_jwk(key.public_key())), "kid": name, "alg": algorithm})
    web.files["/auth/v1/.well-known/jwks.json"] = json.dumps({"keys": found}).encode()


def test_tokens_signed_with_the_projects_keys(
    web: Neighbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = {"AURA_SUPABASE_ISSUER": ISSUER}
    curve, numbers = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
    publish(web, a=curve, b=numbers)
    sign_in = signing_in(web, **theirs)
    assert sign_in(token(curve, "ES256", "a")) == ANN
    assert sign_in(token(numbers, "RS256", "b", sub=BOB)) == BOB
    assert sign_in(token(curve, "ES256", "b")) is None
    assert sign_in(token(numbers, "PS256", "b")) is None
    assert sign_in(token(ec.generate_private_key(ec.SECP256R1()), "ES256", "a")) is None
    # A public key is public: a token signed with it as if it were a secret is nobody's.
    public = numbers.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for forged in (forge(public, "b"), forge(json.dumps(published(web)[1]).encode(), "b")):
        assert sign_in(forged) is None
    assert signing_in(web, **theirs, AURA_SUPABASE_JWT_SECRET=SECRET)(token()) == ANN

    # A new key is asked for once; a name that nobody knows does not make us ask again and again.
    publish(web, c=curve)
    assert sign_in(token(curve, "ES256", "c")) is None
    monkeypatch.setattr("aura.integrations.supabase.sign_in.ASK_AGAIN", -1.0)
    assert sign_in(token(curve, "ES256", "c")) == ANN
    assert ASK_AGAIN > 0
    web.files.clear()  # away: what is known goes on
    assert sign_in(token(curve, "ES256", "d")) is None
    assert sign_in(token(curve, "ES256", "c")) == ANN


def test_while_nobody_can_be_told_apart_nobody_comes_in(web: Neighbour) -> None:
    from aura.service.problems import Problem

    curve = ec.generate_private_key(ec.SECP256R1())
    for url in (web.url("/nowhere"), "http://127.0.0.1:1", "http://10.0.0.1"):
        with pytest.raises(Problem, match="can't be found out now") as caught:
            signing_in(web, url)(token(curve, "ES256", "a"))
        assert caught.value.status == 503
    web.files["/auth/v1/.well-known/jwks.json"] = b"[" * 70_000
    with pytest.raises(Problem):
        signing_in(web)(token(curve, "ES256", "a"))


def test_half_of_the_settings_is_refused() -> None:
    for environment in (
        {"AURA_SUPABASE_SIGN_IN": "1"},
        {"AURA_SUPABASE_SIGN_IN": "1", "AURA_SUPABASE_JWT_SECRET": SECRET},
        {"AURA_SUPABASE_JWT_SECRET": "short"},
    ):
        with pytest.raises(UsageError):
            read_supabase_settings(environment)


def test_the_bucket_does_what_a_folder_does_and_files_travel_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        store: Bucket = stack.enter_context(bucket())
        gate = stack.enter_context(gate_before(store.port))
        monkeypatch.setenv("AURA_SUPABASE_URL", f"http://{gate.host}/")
        monkeypatch.setenv("AURA_SUPABASE_SECONDS", "1")
        settings = Settings(storage_url="supabase://media/some/prefix", allowed_hosts=(gate.host,))
        with pytest.raises(UsageError, match="AURA_SUPABASE_SERVICE_KEY"):
            open_storage(settings)
        monkeypatch.setenv("AURA_SUPABASE_SERVICE_KEY", store.key)
        storage = open_storage(settings)
        storage.check()
        content = bytes(range(256)) * 4000
        source = tmp_path / "in"
        keys = ["media/1", "artifacts/1-1/thumbnail.jpg"]
        for key in keys:
            source.write_bytes(content)
            storage.put(key, source)
            assert not source.exists()
        assert set(store.files) == {f"some/prefix/{key}" for key in keys}
        with storage.local(keys[0], tmp_path) as path:
            assert path.read_bytes() == content
        assert list(tmp_path.iterdir()) == []
        assert b"".join(storage.read(keys[1], 100, 700_000)) == content[100:700_000]
        assert b"".join(storage.read(keys[1], 5, 5)) == b""
        assert [one.key for one in storage.list("artifacts")] == [keys[1]]
        assert store.keys_seen_with_files == {None}
        for key in [*keys, keys[0]]:
            storage.delete(key)
        assert store.files == {}
        with pytest.raises(InputNotFound):
            storage.read(keys[0], 0, 5)
        with pytest.raises(InputNotFound), storage.local(keys[0], tmp_path):
            pass
        with pytest.raises(ValueError, match="storage key"):
            storage.put("../secret", source)

        source.write_bytes(content)
        for trouble in ("failing", "hanging"):
            gate.shut(trouble)
            with pytest.raises(StorageAway):
                storage.put(keys[0], source)
            with pytest.raises(OSError, match="can't be used"):
                storage.check()
        gate.open()
        storage.put(keys[0], source)  # the file waited
        monkeypatch.setenv("AURA_SUPABASE_SERVICE_KEY", "wrong")
        with pytest.raises(StorageAway):
            open_storage(settings).read(keys[0], 0, 5)
