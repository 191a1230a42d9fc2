"""The environment of an application's container: the API's address is the proxy's, and its key stays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Json = dict[str, Any]

BASE_URL: Final = "http://127.0.0.1:4141"
PLACEHOLDER_KEY: Final = "provided-by-claudeops"
"""The SDKs demand a key; the proxy replaces it."""
_SET: Final = {"ANTHROPIC_BASE_URL": BASE_URL, "ANTHROPIC_API_KEY": PLACEHOLDER_KEY}
_OTHER_CREDENTIAL: Final = "ANTHROPIC_AUTH_TOKEN"
_PROXY_VARIABLES: Final = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"})
_LOOPBACK: Final = "127.0.0.1"


def rewrite_environment(environment: Sequence[Json], *, has_sources: bool = False) -> tuple[list[Json], list[str]]:
    """The new ``env`` list, and the names of the entries that were replaced or dropped. Order and everything else stay.

    ``has_sources``: the container has an ``envFrom`` besides. What it holds is not known here, but an entry is stronger: a token in it
    gives way to an empty one, which is none to the SDKs.
    """
    ours = {**_SET, _OTHER_CREDENTIAL: ""} if has_sources else _SET
    replaced = [entry["name"] for entry in environment if _is_overridden(entry, ours)]
    kept = [_with_ours(entry, ours) for entry in environment if entry["name"] in ours or entry["name"] != _OTHER_CREDENTIAL]
    present = {entry["name"] for entry in kept}
    kept.extend({"name": name, "value": value} for name, value in ours.items() if name not in present)
    return _exempt_loopback(kept), list(dict.fromkeys(replaced))


def _is_overridden(entry: Json, ours: Mapping[str, str]) -> bool:
    name = entry["name"]
    return name in (*ours, _OTHER_CREDENTIAL) and entry != {"name": name, "value": ours.get(name)}


def _with_ours(entry: Json, ours: Mapping[str, str]) -> Json:
    return {"name": entry["name"], "value": ours[entry["name"]]} if entry["name"] in ours else entry


def _exempt_loopback(environment: list[Json]) -> list[Json]:
    """Where a proxy variable is set, requests to 127.0.0.1 must not take it."""
    if not any(entry["name"].upper() in _PROXY_VARIABLES for entry in environment):
        return environment
    if not any(entry["name"].upper() == "NO_PROXY" for entry in environment):
        return [*environment, {"name": "NO_PROXY", "value": _LOOPBACK}]
    rewritten: list[Json] = []
    for entry in environment:
        rewritten.extend(_with_loopback(entry) if entry["name"].upper() == "NO_PROXY" else (entry,))
    return rewritten


def _with_loopback(entry: Json) -> list[Json]:
    """A value that comes from elsewhere keeps its source under another name, which kubelet expands."""
    if "valueFrom" in entry:
        original = f"CLAUDEOPS_{entry['name']}"
        return [{**entry, "name": original}, {"name": entry["name"], "value": f"$({original}),{_LOOPBACK}"}]
    hosts = [host for host in entry.get("value", "").split(",") if host.strip()]
    if _LOOPBACK in (host.strip() for host in hosts):
        return [entry]
    return [{"name": entry["name"], "value": ",".join([*hosts, _LOOPBACK])}]
