"""Which key reaches the API, and how it is changed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.live_simulator import exchange, live_simulator
from tests.standalone.running import running, wait_until
from tests.standalone.test_run import ask

from claudeops.simulator import SimulatorConfig

MANIFESTS = """\
apiVersion: claudeops.dev/v1alpha1
kind: ClaudeQuota
metadata: {{name: default}}
spec: {{tier: Build, upstream: {{baseUrl: "{url}", allowPlaintext: true}}}}
---
apiVersion: claudeops.dev/v1alpha1
kind: ClaudeWorkload
metadata: {{name: application}}
spec:
  credentials: {{secretRef: {{name: key, key: api-key}}}}
  model: {{name: claude-sonnet-5-5}}
"""
SECRET = "{{apiVersion: v1, kind: Secret, metadata: {{name: key}}, stringData: {{api-key: {key}}}}}"
NAME = "default/application"


def test_the_environment_s_key_gives_way_to_a_secret_s_and_a_changed_one_is_used_at_once(tmp_path: Path) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    with live_simulator(SimulatorConfig(speed=1000)) as simulator:
        (manifests / "workload.yaml").write_text(MANIFESTS.format(url=simulator.url))
        with running("-f", str(manifests), "--port", "0", folder=tmp_path, environment={"ANTHROPIC_API_KEY": "sk-ant-sim-env0"}) as started:
            url = started.wait_until_ready(NAME)[NAME][0]

            def last_four() -> str:
                assert ask(url)[0] == 200
                return str(json.loads(exchange(simulator.url, "GET", "/_sim/requests?limit=1")[2])[0]["key"])[-4:]

            assert last_four() == "env0"
            for key in ("sk-ant-sim-one1", "sk-ant-sim-two2"):
                (manifests / "secret.yaml").write_text(SECRET.format(key=key))
                wait_until("the new key is not used", lambda key=key: last_four() == key[-4:])  # type: ignore[misc]
            assert not [document for document in started.documents if "sk-ant" in json.dumps(document)]
