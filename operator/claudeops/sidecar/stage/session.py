"""session: who is this for, and how long will they wait."""

from __future__ import annotations

from claudeops.sidecar.answer import Answer
from claudeops.sidecar.call import Call
from claudeops.sidecar.runtime import Runtime


def session(call: Call, runtime: Runtime) -> Answer | None:
    """Refuses new work while draining, or without a configuration or a key."""
    if runtime.is_draining:
        return Answer("draining", "this proxy is shutting down: send the request again", retry_after_s=1.0)
    config = runtime.config
    if config is None:
        return Answer("not_ready", "this proxy has no configuration yet", retry_after_s=1.0)
    if runtime.key is None:
        return no_key(runtime)
    caller = call.caller
    call.deadline = call.arrived_at + min(config.resilience.timeouts.total_s, caller.timeout_s)
    if caller.session:
        call.session = caller.session
        return None
    metadata = call.asked.metadata
    user_id = None if metadata is None else metadata.user_id
    if user_id is not None:
        call.session = user_id.encode("utf-8", "replace")
    return None


def no_key(runtime: Runtime) -> Answer:
    """There is nothing to authenticate with."""
    if runtime.config is not None and runtime.config.federation is not None:
        return Answer("credentials", runtime.key_error or "the API has not been asked for an access token yet")
    return Answer("credentials", "no API key is mounted: create the Secret that the workload's credentials name")


def refused_key(runtime: Runtime) -> Answer:
    """The API does not take what requests are authenticated with."""
    if runtime.config is not None and runtime.config.federation is not None:
        return Answer("credentials", "the API refused the access token of the workload's federation: another one is asked for")
    return Answer("credentials", "the API refused the workload's key: put a valid one into its Secret")
