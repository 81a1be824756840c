"""Redis: a nonce is written and read back, on the connections that this process uses. A ping would prove nothing."""

import secrets
from contextlib import suppress
from typing import Any

from ivy import cache
from ivy.probes import Finding

LIVES_MILLISECONDS = 10_000


def look() -> Finding:
    """Write, read, and ask the server who it is. Never raises; bounded by the cache's time-outs.

    `facts`: run_id (new at each start of a server), role, evicted_keys, policy, version; empty where nobody answers.
    """
    client = None
    nonce = secrets.token_hex(8)
    key = f"ivy:probe:{nonce}"  # one key for all, and two processes would read each other's nonce
    try:
        client = cache.raw_client()
        with cache.in_time():
            is_taken = client.set(key, nonce, px=LIVES_MILLISECONDS)
            found = client.get(key)
        if not is_taken or found is None or found.decode() != nonce:
            raise cache.NotKept("it did not give back what was written")  # noqa: TRY301 - told as any failure
    except Exception as error:  # noqa: BLE001 - whatever the client raises, it cannot be written
        kind = cache.note_failure(error, wakes_prober=False)
        answers = client is not None and kind in cache.ANSWERING
        return Finding(False, cache.in_words(error), kind.value, _server(client) if answers else {})
    cache.note_success()
    return Finding(True, "accepts writes", facts=_server(client))


def _server(client: Any) -> dict[str, Any]:
    """Who the server is; empty where it may not be asked."""
    with suppress(Exception):
        told = client.info()
        return {
            "run_id": str(told.get("run_id", "")),
            "role": str(told.get("role", "")),
            "evicted_keys": int(told.get("evicted_keys", 0)),
            "policy": str(told.get("maxmemory_policy", "")),
            "version": str(told.get("redis_version", "")),
        }
    return {}
