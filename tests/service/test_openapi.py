"""The whole OpenAPI description, walked by schemathesis: no 5xx, no undocumented answer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_thread import serving
from made import wish
from schemathesis import GenerationMode, checks

from aura.service.problems import MEDIA_TYPE
from aura.service.schemas import EXAMPLE_ID
from aura.service.work import run_job
from media_factory import moving_texture, write_clip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from in_thread import Api

# The service itself gives what is described, and problem+json where it refuses.
EXAMPLES = int(os.environ.get("AURA_TEST_EXAMPLES", "6"))  # an operation and kind of request
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("openapi")) as running:
        yield running


@pytest.fixture(scope="module")
def job_id(api: Api) -> str:
    """A job with a report, so that not every answer is a 404."""
    clip = write_clip(api.service.scratch.path / "c.mp4", moving_texture(25, 160, 120))
    api.service.storage.put("media/clip", clip)
    job, _ = api.service.store.submit(wish("local", media_key="media/clip", cache_key=None))
    assert run_job(api.service) is not None
    assert api.service.store.report(job.id) is not None
    return job.id


@pytest.fixture(scope="module")
def description(api: Api) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{api.url}/openapi.json")


def test_every_answer_is_as_described(description: schemathesis.BaseSchema, job_id: str) -> None:
    walked = 0
    for operation in description.get_all_operations():
        walk(operation.ok(), job_id)
        walked += 1
    assert walked > 20


def walk(operation: schemathesis.APIOperation, job_id: str) -> None:
    """Ask one operation in many ways, fitting and not."""
    cases = st.one_of(
        operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
        operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
    )

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def ask(case: schemathesis.Case) -> None:
        if case.path.startswith("/infer"):
            case.query["wait"] = 0  # nobody works here: it would wait for as long as it is told
        for name in ("job_id", "task_id"):
            there = name in case.path_parameters and case.method != "DELETE"
            if there and str(case.path_parameters[name])[:1] in "01234567":  # others stay unknown
                case.path_parameters[name] = job_id
        answer = case.call()
        case.validate_response(answer, checks=CHECKS)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == [MEDIA_TYPE]

    ask()


def test_the_description_is_complete(api: Api) -> None:
    with api.client() as client:
        found = client.get("/openapi.json").json()
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            assert operation["responses"], (method, path)
            for status, answer in operation["responses"].items():
                if status.startswith(("4", "5")):
                    assert list(answer["content"]) == [MEDIA_TYPE], (method, path, status)
    assert EXAMPLE_ID in str(found["components"]["schemas"]["Accepted"])
