"""The page over HTTP: who sees what, what a strange page can make a browser do, hostile names."""

from __future__ import annotations

import importlib.util
import json
from datetime import timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from in_thread import serving
from made import finished_report, wish

from aura.errors import UsageError
from aura.service import sharing
from aura.service.jobs import utc_now
from aura.service.keys import all_keys, create_key, revoke_key
from aura.service.sessions import COOKIE
from aura.service.settings import read_settings
from aura.service.tables import shared_links, web_sessions

pytest.importorskip("jinja2", reason="needs the extra: pip install 'aura-veracity[web]'")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx2 as httpx
    from in_thread import Api

SAME = {"Sec-Fetch-Site": "same-origin"}
EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}\u202e'


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Single-user mode."""
    with serving(tmp_path_factory.mktemp("local")) as api:
        yield api


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Others can connect, so a key is needed."""
    with serving(tmp_path_factory.mktemp("guarded"), only_local=False) as api:
        yield api


def done(api: Api, owner: str = "local", report: Any = None, **changes: Any) -> str:
    """A completed job with this report."""
    job, _ = api.service.store.submit(wish(owner, media_key=None, **changes))
    claimed = api.service.claims.claim("w", job.id)
    assert claimed is not None
    full = {**finished_report(), **(report or {})}
    assert api.service.claims.complete(claimed, full) is not None
    return job.id


def signed_in(api: Api, owner: str) -> httpx.Client:
    text, _ = create_key(api.service.engine, owner)
    client = api.client()
    answer = client.post("/sign-in", data={"key": text, "next": "/history"}, headers=SAME)
    assert (answer.status_code, answer.headers["location"]) == (303, "/history")
    return client


class Markup(HTMLParser):
    """Elements with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def harmless(html: str) -> Markup:
    """No script but files of ours and data, no handler, no inline style, nothing from elsewhere."""
    page = Markup(html)
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes), attributes
        for name in ("src", "href", "action", "hx-get", "hx-post"):
            target = attributes.get(name)
            assert target is None or target.startswith(("/", "#")), attributes
        if tag == "script":
            own = (attributes.get("src") or "").startswith("/static/")
            assert own or attributes.get("type") == "application/json"
        if tag == "img":
            assert attributes.get("src") != "x"
    return page


def test_pages_may_load_nothing_from_elsewhere(local: Api) -> None:
    job = done(local)
    with local.client() as client:
        for path in ("/", "/history", f"/results/{job}", "/results/" + "0" * 32):
            answer = client.get(path)
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'")
            assert "unsafe" not in policy
            assert "http" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            harmless(answer.text)
        assert answer.status_code == 404
        script = client.get("/static/page.js?v=1")
        assert script.headers["content-type"].startswith("text/javascript")
        assert "immutable" in script.headers["cache-control"]
        assert client.get("/static/%2e%2e/mount.py").status_code == 404


def test_without_the_extra_the_api_runs_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    hidden = lambda name, *more: None if name == "jinja2" else real(name, *more)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    with serving(tmp_path) as api, api.client() as client:
        assert "pip install 'aura-veracity[web]'" in client.get("/").text
        assert client.get("/health/live").status_code == 200


def test_a_browser_signs_in_by_key_and_out_for_good(guarded: Api) -> None:
    with guarded.client() as client:
        asked = client.get("/history?q=a")
        assert asked.status_code == 303
        assert asked.headers["location"] == "/sign-in?next=/history%3Fq%3Da"
        refused = client.post("/sign-in", data={"key": "aura_no"}, headers=SAME)
        assert refused.status_code == 401
        assert "set-cookie" not in refused.headers
    client = signed_in(guarded, "ann")
    token = client.cookies[COOKIE]
    assert client.get("/").status_code == 200
    assert client.get("/jobs").status_code == 200  # the API takes the cookie as well
    with guarded.service.engine.connect() as connection:
        kept = connection.execute(sa.select(web_sessions)).all()
    assert kept
    assert token not in str(kept)
    client.post("/sign-out", headers=SAME)
    client.cookies.set(COOKIE, token)
    assert client.get("/").status_code == 303


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(guarded: Api) -> None:
    text, _ = create_key(guarded.service.engine, "ann")
    with guarded.client() as client:
        answer = client.post(
            "/sign-in", data={"key": text}, headers={**SAME, "X-Forwarded-Proto": "https"}
        )
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" in cookie


def test_a_session_ends_with_its_key(guarded: Api) -> None:
    client = signed_in(guarded, "eve")
    (key,) = [one for one in all_keys(guarded.service.engine) if one.owner == "eve"]
    revoke_key(guarded.service.engine, key.id)
    assert client.get("/").status_code == 303
    assert client.get("/jobs").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {},
    ],
    ids=str,
)
def test_a_page_of_another_site_changes_nothing(guarded: Api, headers: dict[str, str]) -> None:
    client = signed_in(guarded, "ann")
    job = done(guarded, "ann")
    for method, path in (
        ("POST", f"/results/{job}/delete"),
        ("POST", f"/results/{job}/links"),
        ("DELETE", f"/jobs/{job}"),
        ("POST", "/analyze-video"),
        ("POST", "/sign-out"),
    ):
        assert client.request(method, path, headers=headers).status_code == 403, path
    assert client.get(f"/results/{job}").status_code == 200
    assert sharing.links_of(guarded.service.engine, job, "ann") == []


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil", "javascript:"]
)
def test_signing_in_leads_nowhere_else(guarded: Api, target: str) -> None:
    text, _ = create_key(guarded.service.engine, "ann")
    with guarded.client() as client:
        answer = client.post("/sign-in", data={"key": text, "next": target}, headers=SAME)
    assert answer.headers["location"] == "/"


def test_results_are_seen_by_their_owner_only(guarded: Api) -> None:
    job = done(guarded, "ann")
    bob = signed_in(guarded, "bob")
    assert bob.get(f"/results/{job}").status_code == 404
    assert bob.get(f"/results/{job}/overlay").status_code == 404
    assert bob.post(f"/results/{job}/delete", headers=SAME).status_code == 404
    assert bob.post(f"/results/{job}/links", data={"days": 7}, headers=SAME).status_code == 404
    assert bob.get("/compare", params={"job": [job, job]}).status_code == 404
    assert job not in bob.get("/history").text
    assert signed_in(guarded, "ann").get(f"/results/{job}").status_code == 200


def shared_path(client: httpx.Client, job: str) -> str:
    answer = client.post(
        f"/results/{job}/links", data={"days": 7}, headers={**SAME, "HX-Request": "true"}
    )
    (field,) = [at for tag, at in Markup(answer.text).elements if at.get("id") == "fresh-link"]
    return "/shared/" + str(field["value"]).rsplit("/", 1)[-1]


def test_a_link_shows_one_result_until_it_is_taken_back(guarded: Api) -> None:
    ann = signed_in(guarded, "ann")
    job, other = done(guarded, "ann"), done(guarded, "ann")
    path = shared_path(ann, job)
    with guarded.client() as stranger:
        page = stranger.get(path)
        assert page.status_code == 200
        assert "/delete" not in page.text
        assert other not in page.text
        assert json.loads(stranger.get(f"{path}/files/report.json").text)["job_id"] == job
        assert stranger.get(f"{path}/overlay").json() == {"boxes": [], "maps": []}
        assert stranger.get(f"{path}/files/..%2Freport.json").status_code == 404
        assert stranger.get(f"/results/{job}").status_code == 303
        assert stranger.get("/shared/" + "a" * 43).status_code == 404
        (link,) = sharing.links_of(guarded.service.engine, job, "ann")
        bob = signed_in(guarded, "bob")
        assert bob.post(f"/results/{job}/links/{link.id}/revoke", headers=SAME).status_code == 404
        assert stranger.get(path).status_code == 200
        ann.post(f"/results/{job}/links/{link.id}/revoke", headers=SAME)
        for gone in (path, f"{path}/overlay", f"{path}/files/report.json"):
            assert stranger.get(gone).status_code == 404, gone


@pytest.mark.parametrize(
    ("trusted", "scheme"),
    [((), "http"), (("127.0.0.0/8",), "https"), (("192.0.2.7",), "http")],
)
def test_links_begin_as_a_trusted_proxy_says_and_nobody_else(
    tmp_path: Path, trusted: tuple[str, ...], scheme: str
) -> None:
    with serving(tmp_path, trusted_proxies=trusted) as api:
        job = done(api)
        over_tls = {**SAME, "HX-Request": "true", "X-Forwarded-Proto": "https"}
        with api.client() as client:
            answer = client.post(f"/results/{job}/links", data={"days": 7}, headers=over_tls)
            odd = {**over_tls, "X-Forwarded-Proto": "javascript"}
            other = client.post(f"/results/{job}/links", data={"days": 7}, headers=odd)
        shown = [
            at["value"]
            for text in (answer.text, other.text)
            for _, at in Markup(text).elements
            if at.get("id") == "fresh-link"
        ]
        assert [str(one).split("/shared/")[0] for one in shown] == [
            f"{scheme}://127.0.0.1:{api.port}",
            f"http://127.0.0.1:{api.port}",
        ]


def test_a_proxy_is_named_by_its_address() -> None:
    for wrong in ("*", "proxy", "10.0.0.1/8"):
        with pytest.raises(UsageError, match="AURA_TRUSTED_PROXIES"):
            read_settings({"AURA_TRUSTED_PROXIES": wrong})


def test_a_link_ends_with_its_time_and_with_its_job(guarded: Api) -> None:
    ann = signed_in(guarded, "ann")
    job = done(guarded, "ann")
    late, erased = shared_path(ann, job), shared_path(ann, job)
    engine = guarded.service.engine
    first = sharing.links_of(engine, job, "ann")[0]
    with engine.begin() as connection:
        past = utc_now() - timedelta(seconds=1)
        connection.execute(
            shared_links.update().where(shared_links.c.id == first.id).values(expires_at=past)
        )
    with guarded.client() as stranger:
        assert stranger.get(late).status_code == 404
        assert stranger.get(erased).status_code == 200
        ann.post(f"/results/{job}/delete", headers=SAME)
        assert stranger.get(erased).status_code == 404
    with engine.connect() as connection:
        left = sa.select(shared_links).where(shared_links.c.job_id == job)
        assert connection.execute(left).all() == []


def test_the_history_finds_by_name_hash_and_verdict(local: Api) -> None:
    done(local, filename="Interview 50%.mp4")
    done(local, filename="street_scene.mp4", report=finished_report("fake"))
    with local.client() as client:

        def found(**query: str) -> set[str]:
            answer = client.get("/history", params=query, headers={"HX-Request": "true"})
            assert "<html" not in answer.text
            return {n for n in ("Interview 50%.mp4", "street_scene.mp4") if n in answer.text}

        assert found() == {"Interview 50%.mp4", "street_scene.mp4"}
        assert found(q="interVIEW") == {"Interview 50%.mp4"}
        assert found(q="50%") == {"Interview 50%.mp4"}
        assert found(q="%") == {"Interview 50%.mp4"}
        assert found(q="t_s") == {"street_scene.mp4"}
        assert found(verdict="fake") == {"street_scene.mp4"}
        digest = next(
            one.media_sha256
            for one in local.service.store.list("local")
            if one.filename == "street_scene.mp4"
        )
        assert digest is not None
        assert found(q=digest[:12].upper()) == {"street_scene.mp4"}
        assert found(q="nothing") == set()


@pytest.mark.parametrize("report", [{}, {"detectors": None, "metadata": {}}], ids=str)
def test_old_records_are_shown(local: Api, report: dict[str, Any]) -> None:
    job = done(local)
    with local.service.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE detection_jobs SET report = :old, verdict = NULL WHERE id = :id"),
            {"old": json.dumps(report), "id": job},
        )
    with local.client() as client:
        page = client.get(f"/results/{job}")
        assert page.status_code == 200
        assert "No verdict is on record" in page.text
        assert "No scores" in client.get("/history").text


def poisoned(tree: Any) -> Any:
    """The same report with markup in every text that is no checksum and no choice of a few."""
    fixed = {
        "overall_class",
        "modality",
        "sha256",
        "file",
        "started_at",
        "finished_at",
        "signed_at",
    }
    if isinstance(tree, dict):
        return {k: v if k in fixed else poisoned(v) for k, v in tree.items()}
    if isinstance(tree, list):
        return [poisoned(one) for one in tree]
    return EVIL if isinstance(tree, str) else tree


def hostile_report() -> dict[str, Any]:
    window = {"start": 0.0, "end": 1.0, "score": 0.9}
    detector = {
        "name": "x",
        "label": "y",
        "modality": "visual",
        "subject": 1,
        "score": 0.9,
        "share": 1.0,
        "reason": "r",
        "windows": [window, {**window, "start": 1.0, "end": 2.0}],
    }
    lost = {**detector, "score": None, "share": None, "windows": []}
    segment = {"modality": "visual", "subject": 1, **window, "detectors": ["x"]}
    anomaly = {**window, "reason": "r"}
    return {
        "profile": "p",
        "prediction": {
            **finished_report("fake")["prediction"],
            "reason": "r",
            "decisive_subject": 1,
            "segments": [segment],
            "audio_anomalies": [anomaly],
            "confidence_interval": {"low": 0.1, "high": 0.9, "level": 0.95, "widened_for": ["w"]},
        },
        "subjects": [{"id": 1, "decisive": True, "score": None, "reason": "r"}],
        "detectors": [detector, lost],
        "limits": {"statement": "s", "known": ["k"], "not_judged": ["n"], "error_rates": None},
        "provenance": {
            "input": {"name": "n", "path": "p", "sha256": "0" * 64, "container": "c"},
            "video": {"codec": "c", "width": 1, "height": 1, "fps": 25.0},
            "audio": {"codec": "c", "sample_rate": 1, "channels": 1},
            "c2pa": {
                "words": "w",
                "generator": "g",
                "title": "t",
                "signer": "s",
                "problems": ["p"],
            },
            "decoding": {"notes": ["n"]},
        },
        "metadata": {"model_version": "m", "models_used": [], "tool_versions": {"t": "v"}},
        "explanation": {"shows": ["s"], "does_not_show": ["d"], "missing": ["m"], "method": "m"},
    }


def test_markup_in_names_and_reports_comes_out_as_text(local: Api) -> None:
    report = poisoned(hostile_report())
    job = done(local, filename=EVIL, report=report)
    other = done(local, filename=EVIL, report=report)
    failed, _ = local.service.store.submit(wish("local", filename=EVIL, media_key=None))
    claimed = local.service.claims.claim("w", failed.id)
    assert claimed is not None
    from aura.service.jobs import Error

    local.service.claims.fail(claimed, Error("input", EVIL))
    with local.client() as client:
        paths = [
            "/",
            "/history",
            f"/results/{job}",
            f"/results/{failed.id}",
            shared_path(client, job),
        ]
        paths += [f"/compare?job={job}&job={other}", f"/history?q={EVIL}"]
        for path in paths:
            answer = client.get(path)
            assert answer.status_code == 200, path
            page = harmless(answer.text)
            assert "\u202e" not in answer.text
            assert "{{7*7}}" in "".join(page.text)
            assert "49" not in "".join(page.text).replace(job, "").split("onerror")[1][:40]


def test_flagged_moments_stand_beside_a_verdict_without_a_sign(local: Api) -> None:
    report = hostile_report()
    report["prediction"]["overall_class"] = "real"
    told = "Yet single moments stand out: 2 in the table"
    with local.client() as client:
        assert told in client.get(f"/results/{done(local, report=report)}").text
        report["prediction"].update(segments=[], audio_anomalies=[])
        assert told not in client.get(f"/results/{done(local, report=report)}").text


def test_the_page_speaks_german_and_remembers_it(local: Api) -> None:
    report = hostile_report()
    job = done(local, report=report)
    with local.client() as client:
        german = client.get(f"/results/{job}", headers={"Accept-Language": "de"})
        assert '<html lang="de"' in german.text
        assert "0,30" in german.text
        client.post("/appearance", data={"language": "de", "theme": "dark"}, headers=SAME)
        again = client.get("/history").text
        assert '<html lang="de" data-theme="dark"' in again
        client.post("/appearance", data={"language": "<b>", "theme": "x"}, headers=SAME)
        assert '<html lang="de" data-theme="dark"' in client.get("/history").text
