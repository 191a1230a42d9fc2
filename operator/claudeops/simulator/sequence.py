"""Which stages a call to each kind of endpoint passes, in order."""

from __future__ import annotations

from claudeops.simulator.accountstage import authenticate, authenticate_admin, check_version
from claudeops.simulator.faultstage import find_transcript, meet_faults
from claudeops.simulator.limitstage import find_group, limit_pool, limit_ramp, limit_rates, limit_spend
from claudeops.simulator.pool import BATCH_GROUP, COUNT_TOKENS_GROUP, FILES_GROUP
from claudeops.simulator.stage import (
    check_legality,
    count_input,
    find_model,
    parse_count,
    parse_message,
    resolve_files,
)
from claudeops.simulator.world import Stage

MESSAGE_STAGES: tuple[Stage, ...] = (
    *(authenticate, check_version, parse_message, find_model, check_legality, resolve_files),
    *(find_group, meet_faults, find_transcript, count_input, limit_spend, limit_ramp, limit_rates),
)
COUNT_STAGES: tuple[Stage, ...] = (
    *(authenticate, check_version, parse_count, find_model, check_legality, resolve_files),
    *(meet_faults, limit_pool(COUNT_TOKENS_GROUP), count_input),
)
ACCOUNT_STAGES: tuple[Stage, ...] = (authenticate, check_version, meet_faults)
BATCH_STAGES: tuple[Stage, ...] = (*ACCOUNT_STAGES, limit_pool(BATCH_GROUP), limit_spend)
FILE_STAGES: tuple[Stage, ...] = (*ACCOUNT_STAGES, limit_pool(FILES_GROUP))
ADMIN_STAGES: tuple[Stage, ...] = (authenticate_admin, check_version, meet_faults)
