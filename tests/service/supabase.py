"""What Supabase adds to PostgreSQL, recreated as its own setup does; and its storage, stood in for.

Roles and functions as in supabase/postgres (schema `auth`: uid, role, jwt from the request's
claims). Policies are then tried by PostgreSQL itself.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import psycopg

from stand_in import Answering, answering

if TYPE_CHECKING:
    from collections.abc import Iterator

SETUP = """
DO $$ BEGIN
    CREATE ROLE anon NOLOGIN NOINHERIT;
    CREATE ROLE authenticated NOLOGIN NOINHERIT;
    CREATE ROLE service_role NOLOGIN NOINHERIT BYPASSRLS;
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;
CREATE SCHEMA auth;
CREATE TABLE auth.users (id uuid PRIMARY KEY, email text);
CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE AS
    $$ SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb $$;
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS
    $$ SELECT (auth.jwt() ->> 'sub')::uuid $$;
CREATE FUNCTION auth.role() RETURNS text LANGUAGE sql STABLE AS
    $$ SELECT auth.jwt() ->> 'role' $$;
GRANT USAGE ON SCHEMA public, auth TO anon, authenticated, service_role;
-- What makes a table of a project readable for everybody until policies say otherwise.
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated, service_role;
"""


def make_project(database_url: str, *users: str) -> None:
    """Give a database what a new project's has, and users."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(SETUP)
        for user in users:
            connection.execute("INSERT INTO auth.users (id) VALUES (%s)", [user])


@contextlib.contextmanager
def as_user(database_url: str, role: str, user: str | None = None) -> Iterator[psycopg.Connection]:
    """A connection as PostgREST makes it for a request with a token of this role and user."""
    with psycopg.connect(database_url) as connection:
        claims = json.dumps({"role": role, **({"sub": user} if user else {})})
        connection.execute("SELECT set_config('request.jwt.claims', %s, true)", [claims])
        connection.execute(f"SET LOCAL ROLE {role}")
        yield connection
        connection.rollback()


@dataclass
class Bucket:
    """A stand-in for the REST API of Supabase Storage, with one private bucket."""

    key: str = "sb_secret_key"
    name: str = "media"
    port: int = 0
    files: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    tokens: dict[str, tuple[str, str, float]] = field(default_factory=dict)
    keys_seen_with_files: set[str | None] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def sign(self, kind: str, path: str, seconds: float) -> str:
        token = secrets.token_urlsafe(16)
        self.tokens[token] = (kind, path, time.time() + seconds)
        return token

    def entries(self, prefix: str) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for path, (_, changed) in self.files.items():
            if path.startswith(prefix + "/"):
                head, _, rest = path.removeprefix(prefix + "/").partition("/")
                whole = {"name": head, "id": None if rest else "1", "updated_at": changed}
                found.setdefault(head, whole)
        return sorted(found.values(), key=lambda one: one["name"])


@contextlib.contextmanager
def bucket() -> Iterator[Bucket]:
    state = Bucket()

    class Answers(Answering, BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            path = unquote(parts.path).removeprefix("/storage/v1")
            token = parse_qs(parts.query).get("token", [""])[0]
            if token:
                self.with_token(path, token, body)
            elif self.headers["Authorization"] != f"Bearer {state.key}":
                self.tell(400, {"statusCode": "403", "error": "Unauthorized", "message": "no"})
            else:
                self.with_key(path, json.loads(body or b"{}"))

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

        def with_key(self, path: str, body: dict[str, Any]) -> None:
            upload = re.fullmatch(rf"/object/upload/sign/{state.name}/(.+)", path)
            download = re.fullmatch(rf"/object/sign/{state.name}/(.+)", path)
            if upload:
                token = state.sign("upload", upload[1], 7200)
                self.tell(200, {"url": f"{path}?token={token}", "token": token})
            elif download and download[1] in state.files:
                token = state.sign("download", download[1], body["expiresIn"])
                self.tell(200, {"signedURL": f"{path}?token={token}"})
            elif path == f"/object/list/{state.name}":
                found = state.entries(body["prefix"].rstrip("/"))
                self.tell(200, found[body["offset"] : body["offset"] + body["limit"]])
            elif path == f"/object/{state.name}" and self.command == "DELETE":
                gone = [one for one in body["prefixes"] if state.files.pop(one, None)]
                self.tell(200, [{"name": one} for one in gone])
            elif path == f"/bucket/{state.name}":
                self.tell(200, {"name": state.name, "public": False})
            else:
                self.tell(400, {"statusCode": "404", "error": "not_found", "message": "no"})

        def with_token(self, path: str, token: str, body: bytes) -> None:
            kind, file, until = state.tokens.get(token, ("", "", 0.0))
            state.keys_seen_with_files.add(self.headers["Authorization"] or self.headers["apikey"])
            if time.time() > until or not path.endswith(f"/{state.name}/{file}"):
                self.tell(400, {"statusCode": "400", "error": "InvalidJWT", "message": "no"})
            elif kind == "upload" and self.command == "PUT":
                state.files[file] = (body, datetime.now(UTC).isoformat())
                self.tell(200, {"Key": f"{state.name}/{file}"})
            elif kind == "download" and self.command == "GET":
                content, asked = state.files[file][0], self.headers["Range"]
                if asked:
                    start, stop = map(int, asked.removeprefix("bytes=").split("-"))
                    content = content[start : stop + 1]
                self.tell(206 if asked else 200, content)

        def tell(self, status: int, body: Any) -> None:
            self.answer(status, body if isinstance(body, bytes) else json.dumps(body).encode())

    with answering(Answers) as state.port:
        yield state
