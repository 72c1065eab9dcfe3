"""Whose token it is: JSON Web Tokens as Supabase's sign-in gives them to a product's users.

Checked: signature by the project's key (never one that the token brings or names by address),
algorithm by the kind of key, issuer, audience, expiry, role. A token of the `anon` or
`service_role` key is a token too, and belongs to no user.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import jwt

from aura.errors import AuraError
from aura.service.guarded import GuardedClient
from aura.service.logs import get_logger
from aura.service.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Collection

    from aura.integrations.supabase.settings import SupabaseSettings

log = get_logger("sign_in")

KEYS_PATH = "/auth/v1/.well-known/jwks.json"
SECRET_ALGORITHMS = ("HS256",)
KEY_ALGORITHMS = ("ES256", "RS256")
ROLE = "authenticated"
LEEWAY = 30.0  # seconds that clocks may differ
MAX_TOKEN = 8192  # characters
MAX_KEYS = 64 * 1024  # bytes of the project's list of keys
KEEP_KEYS = 600.0  # seconds until they are fetched anew,
ASK_AGAIN = 30.0  # and at least between two askings, whatever keys tokens name
OK = 200


class SignIn:
    """Tells whose token it is; safe to share between threads."""

    def __init__(self, settings: SupabaseSettings, allowed: Collection[str]) -> None:
        self._settings = settings
        self._issuer = settings.issuer or f"{settings.url}/auth/v1"
        self._client = GuardedClient(allowed)
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = self._asked = float("-inf")
        self._lock = threading.Lock()

    def __call__(self, token: str) -> str | None:
        """The user's id; None: the token is none of a user of this project.

        Raises:
            Problem: 503, the project's keys can't be had now, so nobody can be told apart.
        """
        if len(token) > MAX_TOKEN or token.count(".") != 2:
            return None
        try:
            key, algorithms = self._key_of(jwt.get_unverified_header(token))
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=algorithms,
                audience=self._settings.audience,
                issuer=self._issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "sub", "aud", "iss"]},
            )
            user = str(uuid.UUID(str(claims["sub"])))
        except (jwt.PyJWTError, ValueError) as error:
            log.info("token_refused", why=type(error).__name__)
            return None
        wanted = self._settings.anonymous or claims.get("is_anonymous") is not True
        return user if claims.get("role") == ROLE and wanted else None

    def _key_of(self, header: dict[str, Any]) -> tuple[Any, tuple[str, ...]]:
        """The key, and what may have been done with it: one must not pass for another's.

        Raises:
            jwt.PyJWTError: there is none. Problem: it can't be had now.
        """
        if header.get("alg") in SECRET_ALGORITHMS and self._settings.jwt_secret:
            return self._settings.jwt_secret, SECRET_ALGORITHMS
        name = header.get("kid")
        if header.get("alg") not in KEY_ALGORITHMS or not isinstance(name, str):
            raise jwt.InvalidAlgorithmError("signed in a way that is not used here")
        if not self._settings.url:
            raise jwt.InvalidKeyError("no project is set whose keys could be asked for")
        key = self._known(name)
        if key is None or key.algorithm_name not in KEY_ALGORITHMS:
            raise jwt.InvalidKeyError("no key of this name")
        return key.key, (key.algorithm_name,)

    def _known(self, name: str) -> jwt.PyJWK | None:
        never = self._fetched == float("-inf")
        stale = name not in self._keys or time.monotonic() - self._fetched > KEEP_KEYS
        # One asks; the others go on with what is known, and wait only where nothing is.
        if stale and self._lock.acquire(blocking=never):
            try:
                now = time.monotonic()
                if now - self._asked > ASK_AGAIN:
                    self._asked = now
                    self._fetch(now)
            finally:
                self._lock.release()
        if self._fetched == float("-inf"):
            raise Problem(
                503,
                "sign_in_away",
                "who you are can't be found out now; try again",
                {"Retry-After": str(round(ASK_AGAIN))},
            )
        return self._keys.get(name)

    def _fetch(self, now: float) -> None:
        """Fetch the project's keys; those that are known stay when it is away."""
        try:
            with self._client.ask(
                "GET",
                self._settings.url + KEYS_PATH,
                seconds=min(self._settings.seconds, 10.0),
                max_bytes=MAX_KEYS,
                redirects=0,
            ) as answer:
                # Whatever is no list of keys, an error's page for instance, fails below.
                body = b"".join(answer.body) if answer.status == OK else b""
            found = jwt.PyJWKSet.from_dict(json.loads(body))
        except (AuraError, jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            log.warning("keys_not_fetched", error=f"{type(error).__name__}: {error}"[:200])
            return
        self._keys = {key.key_id: key for key in found.keys if key.key_id}
        self._fetched = now
