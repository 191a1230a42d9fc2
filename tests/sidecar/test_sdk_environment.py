"""What the real SDKs make of the environment that the injector writes."""

import subprocess
import sys

import pytest
from tests.sdk import SDK_VERSIONS, sdk_environment

from claudeops.translate.environment import PLACEHOLDER_KEY, rewrite_environment

pytestmark = pytest.mark.sdk

SHOW = "import anthropic; client = anthropic.Anthropic(); print(client.base_url, client.api_key, client.auth_token, client.auth_headers)"


@pytest.mark.parametrize("version", SDK_VERSIONS)
def test_an_empty_token_is_none_so_that_one_of_an_env_from_is_never_sent(version: str) -> None:
    entries, _ = rewrite_environment([], has_sources=True)
    ours = {entry["name"]: entry["value"] for entry in entries}
    assert ours["ANTHROPIC_AUTH_TOKEN"] == ""
    environment = {**sdk_environment(version), "ANTHROPIC_AUTH_TOKEN": "from-a-secret", **ours}
    command = [sys.executable, "-W", "ignore", "-c", SHOW]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout
    url, key, token, headers = said.strip().split(" ", 3)
    assert (url.rstrip("/"), key, token) == (ours["ANTHROPIC_BASE_URL"], PLACEHOLDER_KEY, "None")
    assert PLACEHOLDER_KEY in headers and "from-a-secret" not in headers
