"""Every documented error by its code or type, for the fault ``error``. Where the API's words are not known, they are ours."""

from __future__ import annotations

from claudeops.simulator.reply import Problem

RAMP_MESSAGE = (
    "The request would exceed a ramp limit, which caps how fast usage can grow. Retry after the time in the `retry-after` header."
)
_BY_TYPE = {
    "invalid_request_error": (400, "The request is not valid."),
    "authentication_error": (401, "invalid x-api-key"),
    "billing_error": (402, "Your organization's billing does not allow this request."),
    "permission_error": (403, "Your API key does not have permission to use the specified resource."),
    "not_found_error": (404, "The requested resource could not be found."),
    "conflict_error": (409, "The resource was changed at the same time."),
    "request_too_large": (413, "Request exceeds the maximum size"),
    "rate_limit_error": (429, "Number of requests has exceeded your rate limit."),
    "api_error": (500, "Internal server error"),
    "timeout_error": (504, "The request timed out."),
    "overloaded_error": (529, "Overloaded"),
}
_BY_CODE = {
    "linked_organization_billing_unavailable": (402, "billing_error"),
    "linked_organization_spend_limit_reached": (402, "billing_error"),
    "user_profile_billing_not_authorized": (403, "permission_error"),
    "user_profile_not_billable": (403, "permission_error"),
    "sandbox_egress_restricted": (403, "permission_error"),
    "thread_not_found": (404, "not_found_error"),
    "file_expired": (404, "not_found_error"),
    "request_body_too_large_after_decoding": (413, "request_too_large"),
    "ramp_limit_exceeded": (429, "rate_limit_error"),
    "enforced_spend_limit_reached": (429, "rate_limit_error"),
    "contract_spend_limit_reached": (429, "rate_limit_error"),
    "cmek_context_unavailable": (503, "api_error"),
    "cmek_key_unreachable": (503, "api_error"),
    "compaction_unavailable": (529, "overloaded_error"),
    "concurrent_membership_change": (409, "conflict_error"),
    "skill_read_blocked_undecryptable": (409, "conflict_error"),
    "rbac_role_not_found": (404, "not_found_error"),
    **dict.fromkeys(
        (
            *("available_tools_limit_exceeded", "claude_code_key_creator_not_member", "claude_code_version_too_old"),
            *("cmek_key_disabled", "cmek_key_network_blocked"),
            *("compaction_block_ambiguous", "compaction_block_misplaced", "compaction_content_mismatch", "compaction_incomplete_turn"),
            *("compaction_nothing_to_summarize", "compaction_signature_invalid", "compaction_too_many_tool_references"),
            *("compaction_tool_changes_mismatch", "file_not_downloadable", "image_dimensions_too_large", "org_member_limit_exceeded"),
            *("organization_not_enrolled_in_beta", "organization_on_hold", "request_body_encoding_invalid"),
            *("request_body_encoding_unsupported", "request_body_timeout", "storage_quota_exceeded"),
            *("thread_already_continued", "thread_continue_in_flight", "thread_fingerprint_mismatch", "thread_unsupported_request"),
            *("tool_name_conflict", "tool_reference_unresolved", "unsupported_charset", "user_profile_not_found", "user_profile_required"),
        ),
        (400, "invalid_request_error"),
    ),
}
NAMES = (*_BY_TYPE, *_BY_CODE)
"""What the fault ``error`` can be told to answer."""
_NO_RETRY_AFTER = ("enforced_spend_limit_reached", "contract_spend_limit_reached")


def error_of(name: str, retry_after_s: int) -> Problem:
    """The refusal of this name: an error type, or an error code. A 429 has ``retry-after`` unless a spend cap is its cause."""
    if name in _BY_TYPE:
        status, message = _BY_TYPE[name]
        return Problem(status, name, message, retry_after_s if status == 429 else None, status == 429)
    status, kind = _BY_CODE[name]
    wait_s = retry_after_s if status == 429 and name not in _NO_RETRY_AFTER else None
    message = RAMP_MESSAGE if name == "ramp_limit_exceeded" else _BY_TYPE[kind][1]
    return Problem(status, kind, message, wait_s, status == 429, {"error_code": name})
