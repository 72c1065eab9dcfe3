"""Webhooks: signed, tried again, given up on 410, replayed, with secrets that rotate."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from deployment import neighbour
from made import finished_report, wish
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from aura.service import webhooks
from aura.service.context import Service
from aura.service.jobs import Error, utc_now
from aura.service.settings import Settings
from aura.service.tables import webhook_deliveries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deployment import Neighbour


@pytest.fixture
def web() -> Iterator[Neighbour]:
    with neighbour() as server:
        yield server


@pytest.fixture
def service(tmp_path: Path, database_url: str, web: Neighbour) -> Iterator[Service]:
    made = Service(
        Settings(data_dir=tmp_path, database_url=database_url, allowed_hosts=(web.host,))
    )
    yield made
    made.close()


def finish(service: Service, web: Neighbour, path: str = "/hook", *, well: bool = True) -> str:
    job, _ = service.store.submit(wish("ann", callback_url=web.url(path)))
    claimed = service.claims.claim("w", job.id)
    assert claimed is not None
    if well:
        service.claims.complete(claimed, finished_report("fake"))
    else:
        service.claims.fail(claimed, Error("no_video", "there is no video in it"))
    return job.id


def state_of(service: Service, job_id: str) -> dict[str, object]:
    (row,) = webhooks.deliveries_of(service.engine, "ann", job_id)
    return row


def make_due(service: Service) -> None:
    with service.engine.begin() as connection:
        past = utc_now() - timedelta(seconds=1)
        connection.execute(
            webhook_deliveries.update()
            .where(webhook_deliveries.c.state == "pending")
            .values(next_at=past)
        )


def test_each_end_of_a_job_is_told_once_and_signed(service: Service, web: Neighbour) -> None:
    secret = webhooks.rotate_secret(service.engine, "ann")
    good, bad = finish(service, web), finish(service, web, well=False)
    dropped, _ = service.store.submit(wish("ann", callback_url=web.url("/hook")))
    service.store.cancel(dropped.id)
    assert webhooks.deliver_due(service) == 3
    assert webhooks.deliver_due(service) == 0
    told = {}
    for headers, body in web.received:
        message = Webhook(secret).verify(body, headers)
        told[message["data"]["job_id"]] = message
    assert told[good]["type"] == "job.completed"
    assert told[good]["data"]["prediction"]["overall_class"] == "fake"
    assert told[bad]["data"]["error"]["kind"] == "no_video"
    assert told[dropped.id]["type"] == "job.cancelled"


def test_a_failed_delivery_is_tried_again_later_and_later_then_given_up(
    service: Service, web: Neighbour
) -> None:
    job_id = finish(service, web)
    web.status = 500
    pauses = []
    for _ in range(len(webhooks.BACK_OFF)):
        before = utc_now()
        assert webhooks.deliver_due(service) == 1
        row = state_of(service, job_id)
        assert row["state"] == "pending"
        pauses.append(round((row["next_at"] - before).total_seconds()))
        assert webhooks.deliver_due(service) == 0  # not before its time
        make_due(service)
    assert pauses == list(webhooks.BACK_OFF)
    webhooks.deliver_due(service)
    assert state_of(service, job_id)["state"] == "failed"
    ids = {headers["webhook-id"] for headers, _ in web.received}
    assert len(ids) == 1

    web.status = 200
    assert webhooks.replay(service.engine, "eve", state_of(service, job_id)["id"]) is False
    assert webhooks.replay(service.engine, "ann", state_of(service, job_id)["id"]) is True
    webhooks.deliver_due(service)
    assert state_of(service, job_id)["state"] == "delivered"


def test_410_ends_deliveries_to_that_address_until_a_replay(
    service: Service, web: Neighbour
) -> None:
    first = finish(service, web)
    web.status = 410
    webhooks.deliver_due(service)
    assert state_of(service, first)["state"] == "disabled"
    web.status, web.received = 200, []
    second, elsewhere = finish(service, web), finish(service, web, "/other")
    webhooks.deliver_due(service)
    assert state_of(service, second)["state"] == "disabled"
    assert state_of(service, elsewhere)["state"] == "delivered"

    webhooks.replay(service.engine, "ann", state_of(service, first)["id"])
    webhooks.deliver_due(service)
    third = finish(service, web)
    webhooks.deliver_due(service)
    assert state_of(service, first)["state"] == "delivered"
    assert state_of(service, third)["state"] == "delivered"


def test_old_and_new_secret_sign_during_a_rotation_and_a_forger_has_neither(
    service: Service, web: Neighbour
) -> None:
    old = webhooks.rotate_secret(service.engine, "ann")
    new = webhooks.rotate_secret(service.engine, "ann")
    finish(service, web)
    webhooks.deliver_due(service)
    headers, body = web.received[-1]
    for secret in (old, new):
        assert Webhook(secret).verify(body, headers)
    forger = webhooks.rotate_secret(service.engine, "eve")
    with pytest.raises(WebhookVerificationError):
        Webhook(forger).verify(body, headers)

    newest = webhooks.rotate_secret(service.engine, "ann")
    finish(service, web)
    webhooks.deliver_due(service)
    headers, body = web.received[-1]
    assert Webhook(newest).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(body, headers)


def test_a_callback_that_became_private_is_not_called(service: Service, tmp_path: Path) -> None:
    job, _ = service.store.submit(wish("ann", callback_url="http://127.0.0.1:1/hook"))
    service.store.cancel(job.id)
    webhooks.deliver_due(service)
    row = state_of(service, job.id)
    assert row["last_status"] is None
    assert "public" in str(row["last_error"])


def test_erasing_a_job_takes_its_webhooks_along(service: Service, web: Neighbour) -> None:
    job_id = finish(service, web)
    service.store.erase(job_id)
    assert webhooks.deliver_due(service) == 0
    with service.engine.connect() as connection:
        query = sa.select(sa.func.count()).select_from(webhook_deliveries)
        assert connection.execute(query).scalar_one() == 0
