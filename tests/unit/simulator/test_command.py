"""``claudeops simulate``: from arguments to configuration."""

from __future__ import annotations

import argparse

import pytest

from claudeops.catalogue import RateLimits
from claudeops.errors import InvalidResource
from claudeops.simulator import Account, SimulatorConfig
from claudeops.simulator.command import config_of, configure, run


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    configure(parser)
    return parser.parse_args(arguments)


def test_without_arguments_the_defaults_of_the_library_hold() -> None:
    assert config_of(parsed("--port", "0")) == SimulatorConfig()


def test_every_flag_arrives() -> None:
    config = config_of(
        parsed(
            *("--host", "0.0.0.0", "--port", "9", "--tier", "none", "--limit", "opus-5=1,2,3", "--limit", "sonnet-5.5=600,600000,120000"),
            *("--burst-s", "2", "--seed", "7", "--output-median", "100", "--output-sigma", "0.1", "--tokens-per-event", "3"),
            *("--speed", "4", "--ttft-s", "0.5", "--tokens-per-s", "50", "--no-ratelimit-headers"),
            *("--fixed-ids", "--downloadable-files", "--compress", "--admin-key", "sk-ant-admin-1=acme", "--limit", "fast:opus-5=4,5,6"),
            *("--spend-limit", "usage_tier=5.5", "--spend-limit", "workspace:blue=1", "--ramp-growth", "2"),
            *("--key", "sk-a=acme", "--key", "sk-b==acme/blue", "--tls-cert", "c.pem", "--tls-key", "k.pem"),
        )
    )
    assert config == SimulatorConfig(
        host="0.0.0.0",
        port=9,
        tier=None,
        limits={"opus-5": RateLimits(1, 2, 3), "sonnet-5.5": RateLimits(600, 600_000, 120_000), "fast:opus-5": RateLimits(4, 5, 6)},
        has_fixed_ids=True,
        has_downloadable_files=True,
        compresses=True,
        admin_keys={"sk-ant-admin-1": "acme"},
        spend_limits_usd={"usage_tier": 5.5, "workspace:blue": 1.0},
        ramp_growth=2.0,
        burst_s=2,
        seed=7,
        output_median_tokens=100,
        output_sigma=0.1,
        tokens_per_event=3,
        speed=4,
        ttft_s=0.5,
        tokens_per_s=50,
        keys={"sk-a": Account("acme"), "sk-b=": Account("acme", "blue")},
        has_ratelimit_headers=False,
        tls_certificate="c.pem",
        tls_key="k.pem",
    )


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("--limit", "gpt=1,2,3"), "--limit"),
        (("--limit", "opus-5=1,2"), "--limit"),
        (("--limit", "opus-5=1,2,0"), "--limit"),
        (("--limit", "opus-5=1,2,x"), "--limit"),
        (("--limit", "fast:gpt=1,2,3"), "--limit"),
        (("--spend-limit", "moon=5"), "--spend-limit"),
        (("--spend-limit", "contract=lots"), "--spend-limit"),
        (("--admin-key", "sk-ant-admin"), "--admin-key"),
        (("--transcripts", "/nowhere"), "--transcripts"),
        (("--key", "sk-a"), "--key"),
        (("--key", "sk-a="), "--key"),
        (("--speed", "0"), "--speed"),
        (("--burst-s", "-1"), "--burst-s"),
        (("--tokens-per-s", "0"), "--tokens-per-s"),
        (("--ttft-s", "nan"), "--ttft-s"),
        (("--port", "65536"), "--port"),
        (("--port", "-1"), "--port"),
        (("--faults", "/nowhere/faults.json"), "--faults"),
    ],
)
def test_wrong_arguments_are_named(arguments: tuple[str, ...], path: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidResource) as raised:
        config_of(parsed(*arguments))
    assert raised.value.path == path
    assert run(parsed(*arguments)) == 2
    assert path in capsys.readouterr().err


def test_keys_belong_to_accounts() -> None:
    assert SimulatorConfig().account_of("sk-ant-sim-1") == Account()
    assert SimulatorConfig().account_of("sk-ant-api03-1") is None
    closed = SimulatorConfig(keys={"sk-a": Account("acme", "blue")})
    assert closed.account_of("sk-a") == Account("acme", "blue")
    assert closed.account_of("sk-ant-sim-1") is None


def test_ids_follow_from_names() -> None:
    one, other = Account("acme", "blue"), Account("acme", "red")
    assert one.organization_id == other.organization_id != Account("beta").organization_id
    assert one.workspace_id != other.workspace_id
    assert one.workspace_id.startswith("wrkspc_")
