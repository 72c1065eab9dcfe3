"""A receiver for Aura's callbacks: `POST /api/detection_callback` in a product that has a table.

It verifies the signature, writes the result into `detection_history`, and notifies whoever listens
on PostgreSQL's channel of that name, all in one transaction. A callback that comes twice, late, or
after a newer one changes nothing.

    pip install fastapi uvicorn 'psycopg[binary]' psycopg-pool standardwebhooks
    export DATABASE_URL=postgresql://localhost/product
    export AURA_WEBHOOK_SECRET=whsec_...           # from POST /webhooks/secret/rotate
    uvicorn --app-dir examples detection_callback:app --port 9000

Then submit with `callback_url=http://localhost:9000/api/detection_callback`; an Aura on the same
machine needs AURA_ALLOWED_HOSTS=localhost:9000 for that.

In Supabase the table comes from `aura supabase sql history`, which adds who may see what.
"""

from __future__ import annotations

import json
import os
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, HTTPException, Request, Response
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAX_BODY = 256 * 1024  # bytes; a callback has some thousand
# The table of the product, where it has none yet. `told_at` is when Aura said what the row says.
TABLE = """
CREATE TABLE IF NOT EXISTS detection_history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE detection_history
    ADD COLUMN IF NOT EXISTS job_id text UNIQUE,
    ADD COLUMN IF NOT EXISTS status text,
    ADD COLUMN IF NOT EXISTS verdict text,
    ADD COLUMN IF NOT EXISTS score double precision,
    ADD COLUMN IF NOT EXISTS detector_scores jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS model_metadata jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS told_at timestamptz;
"""
# A job has one end, but a dead one can be queued again and end anew: the later end counts.
WRITE = """
INSERT INTO detection_history
    (job_id, status, verdict, score, detector_scores, model_metadata, told_at)
VALUES (%(job_id)s, %(status)s, %(verdict)s, %(score)s, %(scores)s, %(metadata)s, %(told_at)s)
ON CONFLICT (job_id) DO UPDATE SET
    status = excluded.status, verdict = excluded.verdict, score = excluded.score,
    detector_scores = excluded.detector_scores, model_metadata = excluded.model_metadata,
    told_at = excluded.told_at
WHERE detection_history.told_at IS NULL OR detection_history.told_at < excluded.told_at
RETURNING job_id
"""

secret = Webhook(os.environ["AURA_WEBHOOK_SECRET"])
pool = AsyncConnectionPool(os.environ["DATABASE_URL"], open=False, min_size=1)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Connect, and see to it that the table is there."""
    await pool.open(wait=True)
    async with pool.connection() as connection:
        await connection.execute(TABLE)
    yield
    await pool.close()


app = FastAPI(lifespan=lifespan, openapi_url=None)


@app.post("/api/detection_callback")
async def detection_callback(request: Request) -> Response:
    """Take one callback in. Anything but a 2xx makes Aura try again later."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413)
    try:
        # Constant-time, over the very bytes that came, and not older than five minutes.
        secret.verify(bytes(body), dict(request.headers))
    except (WebhookVerificationError, ValueError):
        raise HTTPException(403, "the signature does not fit") from None
    told = json.loads(body)
    async with pool.connection() as connection:
        written = await connection.execute(WRITE, row_of(told))
        if await written.fetchone() is not None:
            await connection.execute(
                "SELECT pg_notify('detection_history', %s)", [told["data"]["job_id"]]
            )
    return Response(status_code=204)


def row_of(told: dict[str, Any]) -> dict[str, Any]:
    """What the table keeps of a callback."""
    data = told["data"]
    return {
        "job_id": data["job_id"],
        "status": data["status"],
        "verdict": data["verdict"],
        "score": data.get("prediction", {}).get("manipulation_confidence"),
        "scores": Jsonb(data.get("detector_scores", {})),
        "metadata": Jsonb(data.get("model_metadata", {})),
        "told_at": datetime.fromisoformat(told["timestamp"]),
    }
