"""Nobody gets in who may not, and nobody learns whether a job exists that is not theirs."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from deployment import Deployment
from in_thread import serving
from made import finished_report, wish

from aura.service.access import BURST_LIMIT
from aura.service.jobs import utc_now
from aura.service.keys import create_key, revoke_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from in_thread import Api

NONE = "0" * 32  # an id that no job has


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API that others can reach, so that it needs keys."""
    with serving(tmp_path, only_local=False) as running:
        yield running


def key_for(api: Api, owner: str, **options: object) -> str:
    text, _ = create_key(api.service.engine, owner, **options)
    return text


def completed_job(api: Api, owner: str) -> str:
    job, _ = api.service.store.submit(wish(owner, media_key=None))
    claimed = api.service.claims.claim("w", job.id)
    assert claimed is not None
    assert api.service.claims.complete(claimed, finished_report()) is not None
    return job.id


def routes_about(job_id: str) -> list[tuple[str, str]]:
    return [
        ("GET", f"/jobs/{job_id}"),
        ("GET", f"/jobs/{job_id}/events"),
        ("POST", f"/jobs/{job_id}/cancel"),
        ("DELETE", f"/jobs/{job_id}"),
        ("GET", f"/jobs/{job_id}/artifacts"),
        ("GET", f"/jobs/{job_id}/artifacts/report.json"),
        ("GET", f"/jobs/{job_id}/webhooks"),
        ("GET", f"/status/{job_id}"),
    ]


def test_without_a_valid_key_everything_looks_alike(api: Api) -> None:
    job_id = completed_job(api, "ann")
    text, key = create_key(api.service.engine, "ann")
    revoke_key(api.service.engine, key.id)
    wrong = [None, "aura_nonsense", f"aura_{key.id}_{'x' * 43}", text, text[:-1] + "?"]
    bodies = set()
    for bad in wrong:
        with api.client(bad) as client:
            for method, path in [*routes_about(job_id), *routes_about(NONE), ("GET", "/jobs")]:
                answer = client.request(method, path)
                assert answer.status_code == 401, (bad, path)
                assert answer.headers["www-authenticate"] == "Bearer"
                assert answer.headers["content-type"] == "application/problem+json"
                bodies.add(answer.text)
            assert client.post("/analyze-video", json={"video_url": "x"}).status_code == 401
            assert client.get("/metrics").status_code == 401
            assert client.get("/health/live").status_code == 200
    assert len(bodies) == 1


def test_another_users_job_looks_like_one_that_does_not_exist(api: Api) -> None:
    job_id = completed_job(api, "ann")
    with api.client(key_for(api, "eve")) as eve:
        for (method, path), (_, nowhere) in zip(
            routes_about(job_id), routes_about(NONE), strict=True
        ):
            theirs, none = eve.request(method, path), eve.request(method, nowhere)
            assert theirs.status_code == none.status_code == 404, path
            assert theirs.text == none.text
        assert eve.get("/jobs").json()["jobs"] == []
    with api.client(key_for(api, "ann")) as ann:
        assert ann.get(f"/jobs/{job_id}").status_code == 200


def test_a_key_may_do_no_more_than_its_scopes(api: Api) -> None:
    job_id = completed_job(api, "ann")
    with api.client(key_for(api, "ann", scopes=["read"])) as reader:
        assert reader.get(f"/jobs/{job_id}").status_code == 200
        assert reader.delete(f"/jobs/{job_id}").status_code == 403
        assert reader.post(f"/jobs/{job_id}/cancel").status_code == 403
        assert reader.post("/analyze-video", json={}).status_code == 403
    with api.client(key_for(api, "ann", scopes=["submit"])) as submitter:
        assert submitter.get(f"/jobs/{job_id}").status_code == 403
        assert submitter.get(f"/jobs/{job_id}/artifacts/report.json").status_code == 403


def test_links_work_without_a_key_until_they_expire_and_not_if_forged(api: Api) -> None:
    job_id = completed_job(api, "ann")
    with api.client(key_for(api, "ann")) as ann:
        artifact = ann.get(f"/jobs/{job_id}/artifacts").json()["artifacts"][0]
    signer_url = artifact["url"]
    other = completed_job(api, "bob")
    with api.client() as stranger:
        good = stranger.get(signer_url)
        assert good.status_code == 200
        assert good.json()["job_id"] == job_id
        last = signer_url[-1]
        forged = [
            signer_url[:-1] + ("0" if last != "0" else "1"),
            signer_url.replace(job_id, other),
            signer_url.replace(job_id, NONE),
            signer_url.replace("expires=", "expires=9"),
            signer_url.split("&", 1)[0],
            signer_url.replace("signature=", "signature=%00"),
        ]
        answers = [stranger.get(url) for url in forged]
        assert {answer.status_code for answer in answers} == {403}
        assert len({answer.text for answer in answers}) == 1


def test_an_expired_link_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = completed_job(api, "ann")
    with api.client(key_for(api, "ann")) as ann:
        artifact = ann.get(f"/jobs/{job_id}/artifacts").json()["artifacts"][0]
    now = time.time()
    with api.client() as stranger:
        for later, status in ((api.service.settings.link_seconds - 60, 200), (1000.0, 403)):
            clock = SimpleNamespace(time=lambda later=later: now + later)
            monkeypatch.setattr("aura.service.links.time", clock)
            assert stranger.get(artifact["url"]).status_code == status


def test_only_hashes_of_keys_are_kept(api: Api) -> None:
    text = key_for(api, "ann")
    secret = text.rsplit("_", 1)[1].encode()
    with api.client(text) as client:
        client.get("/jobs")
    stored = b"".join(path.read_bytes() for path in api.service.settings.data_dir.glob("aura.db*"))
    assert b"ann" in stored
    assert secret not in stored


def test_limits_answer_429_with_a_time_and_no_upload_is_taken_in_vain(tmp_path: Path) -> None:
    with serving(tmp_path, only_local=False) as api:
        key = key_for(api, "ann", daily_limit=1)
        api.service.store.submit(wish("ann"))
        with api.client(key) as client:
            answer = client.post("/analyze-video", files={"file": ("a.mp4", b"x")})
        assert answer.status_code == 429
        midnight = (utc_now() + timedelta(days=1)).replace(hour=0, minute=0, second=0)
        left = (midnight - utc_now()).total_seconds()
        assert abs(int(answer.headers["Retry-After"]) - left) < 5
        with api.client(key_for(api, "bob")) as client:
            assert client.post("/analyze-video", files={"file": ("a", b"x")}).status_code == 422


def test_a_flood_is_stopped(tmp_path: Path) -> None:
    with serving(tmp_path, burst_limit=3) as api, api.client() as client:
        for _ in range(3):
            api.service.store.submit(wish("local"))
        answer = client.post("/analyze-video", json={"video_url": "https://example.org/a"})
        # The address is looked at first or the limit is: either way nothing is taken in.
        form = client.post("/analyze-video", files={"file": ("a.mp4", b"x")})
        assert form.status_code == 429
        assert answer.status_code in {422, 429}
        assert len(client.get("/jobs").json()["jobs"]) == 3


def test_by_default_a_flood_with_a_key_is_stopped_and_the_only_user_is_not(tmp_path: Path) -> None:
    for only_local, status in ((False, 429), (True, 422)):
        with serving(tmp_path / str(only_local), only_local=only_local) as api:
            key = None if only_local else key_for(api, "ann")
            for _ in range(BURST_LIMIT):
                api.service.store.submit(wish("local" if only_local else "ann"))
            with api.client(key) as client:
                answer = client.post("/analyze-video", files={"file": ("a.mp4", b"x")})
            assert answer.status_code == status, answer.text


class TestSingleUserMode:
    @pytest.fixture
    def local(self, tmp_path: Path) -> Iterator[Api]:
        with serving(tmp_path) as running:
            yield running

    def test_no_key_is_needed(self, local: Api) -> None:
        with local.client() as client:
            assert client.get("/jobs").status_code == 200

    @pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.1"])
    def test_a_name_that_leads_here_from_elsewhere_is_refused(self, local: Api, host: str) -> None:
        with local.client(headers={"Host": host}) as client:
            assert client.get("/jobs").status_code == 403

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ],
    )
    def test_a_page_of_another_site_is_refused(self, local: Api, headers: dict[str, str]) -> None:
        with local.client(headers=headers) as client:
            answer = client.get("/jobs")
            assert answer.status_code == 403
            assert "access-control-allow-origin" not in answer.headers
            assert client.post("/webhooks/secret/rotate").status_code == 403

    def test_the_first_key_ends_it(self, tmp_path: Path, local: Api) -> None:
        create_key(local.service.engine, "ann")
        with serving(tmp_path) as again, again.client() as client:
            assert client.get("/jobs").status_code == 401

    def test_every_answer_has_its_security_headers(self, local: Api) -> None:
        with local.client() as client:
            for path in ("/jobs", "/nowhere", "/health/live"):
                headers = client.get(path).headers
                assert headers["x-content-type-options"] == "nosniff"
                assert "default-src 'none'" in headers["content-security-policy"]
                assert headers["cache-control"] == "no-store"
                assert "server" not in headers


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_serving_others_without_a_key_is_refused_at_the_start(tmp_path: Path, host: str) -> None:
    deployment = Deployment(tmp_path)
    command = [sys.executable, "-m", "aura", "serve", "--host", host]
    done = subprocess.run(
        command,
        check=False,
        env=deployment.environment,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 2
    assert "aura keys create" in done.stderr
