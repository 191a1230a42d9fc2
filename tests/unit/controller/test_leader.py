"""Who may take the Lease, and what is written."""

from datetime import UTC, datetime
from typing import Any

from claudeops.controller.leader import DURATION_S, Sighting, claim, is_free

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)


def lease(holder: str, version: str = "1", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, **spec}}


def test_a_lease_of_another_is_taken_only_when_it_was_not_renewed_for_its_duration() -> None:
    seen = Sighting().see(lease("other"), 100.0)
    assert not is_free(lease("other"), seen, identity="me", now_s=100.0 + DURATION_S - 0.1)
    assert is_free(lease("other"), seen, identity="me", now_s=100.0 + DURATION_S)


def test_a_renewal_starts_the_duration_anew_by_our_clock() -> None:
    seen = Sighting().see(lease("other", "1"), 100.0).see(lease("other", "2"), 110.0)
    assert not is_free(lease("other", "2"), seen, identity="me", now_s=116.0)
    assert seen.see(lease("other", "2"), 112.0) == seen


def test_a_released_lease_and_ones_own_are_free_at_once() -> None:
    assert is_free(lease(""), Sighting("1", 100.0), identity="me", now_s=100.0)
    assert is_free(lease("me"), Sighting("1", 100.0), identity="me", now_s=100.0)


def test_taking_over_is_one_more_transition_and_renewing_is_none() -> None:
    taken = claim(lease("other", leaseTransitions=7), identity="me", now=NOW)
    assert (taken["holderIdentity"], taken["leaseTransitions"], taken["acquireTime"]) == ("me", 8, "2026-11-22T18:00:00.000000Z")
    renewed = claim({"metadata": {}, "spec": taken}, identity="me", now=NOW.replace(minute=1))
    assert renewed["leaseTransitions"] == 8
    assert (renewed["acquireTime"], renewed["renewTime"]) == ("2026-11-22T18:00:00.000000Z", "2026-11-22T18:01:00.000000Z")


def test_a_lease_that_somebody_deleted_does_not_send_the_epoch_back() -> None:
    first = claim(None, identity="me", now=NOW)["leaseTransitions"]
    for _ in range(100):
        last = claim({"metadata": {}, "spec": {"holderIdentity": "x", "leaseTransitions": first}}, identity="me", now=NOW)[
            "leaseTransitions"
        ]
    assert claim(None, identity="me", now=NOW.replace(hour=20))["leaseTransitions"] > last
    assert last < 2**31
