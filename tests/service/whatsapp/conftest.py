"""One API with the bot, and a stand-in for Meta's, for all tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("pywa", reason="needs the extra: pip install 'aura-veracity[whatsapp]'")

from in_thread import serving
from meta import meta_api

from aura.service.tables import detection_jobs, whatsapp_inbox, whatsapp_outbox, whatsapp_senders
from media_factory import moving_texture, write_clip
from whatsapp.bot import Bot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from in_thread import Api
    from meta import Meta


@pytest.fixture(scope="package")
def meta() -> Iterator[Meta]:
    with meta_api() as server:
        yield server


@pytest.fixture(scope="package")
def api(meta: Meta, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    from aura.integrations.whatsapp.bot import Bot as RealBot

    with pytest.MonkeyPatch.context() as patch:
        # What is done at once in the background would come in between; `test_flows` has it.
        patch.setattr(RealBot, "work", lambda _: None)
        for name, value in {**meta.environment(), "AURA_WHATSAPP_DAILY": "2"}.items():
            patch.setenv(name, value)
        folder = tmp_path_factory.mktemp("whatsapp")
        options = {"max_duration": 3.0, "max_upload": 200_000, "public_url": "https://aura.test/"}
        with serving(folder, allowed_hosts=(meta.host,), **options) as running:
            yield running


@pytest.fixture
def bot(api: Api, meta: Meta) -> Iterator[Bot]:
    with api.service.engine.begin() as connection:
        for table in (whatsapp_inbox, whatsapp_outbox, whatsapp_senders, detection_jobs):
            connection.execute(table.delete())
    meta.__init__(port=meta.port)  # as if it had just begun
    with api.client() as client:
        yield Bot(api, meta, client)


@pytest.fixture(scope="package")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, moving_texture(25, 160, 120)).read_bytes()
