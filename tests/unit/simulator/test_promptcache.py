"""Prompt-cache accounting by prefix."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.table import every

from claudeops.catalogue import Model, load_catalogue
from claudeops.simulator.message import CacheControl, MessageRequest, decode_message
from claudeops.simulator.prompt import Position, count_tokens, has_breakpoints, positions
from claudeops.simulator.promptcache import InputUse, PromptCache

SMALLEST = 1024
WORKSPACE = "wrkspc_1"


def sequence(*steps: tuple[int, str | None], salt: str = "") -> list[Position]:
    """Positions from block sizes and breakpoints; the digest names the whole prefix."""
    made, total, prefix = [], 0, salt
    for size, ttl in steps:
        total += size
        prefix += f"/{size}"
        made.append(Position(total, prefix.encode(), ttl))
    return made


def run(cache: PromptCache, found: list[Position], now_s: float, *, workspace: str = WORKSPACE) -> InputUse:
    lookup = cache.look_up(workspace, found, SMALLEST, now_s)
    cache.commit(workspace, lookup.writes, now_s, now_s)
    return lookup.use


def test_written_once_then_read() -> None:
    cache, prompt = PromptCache(), sequence((2000, "5m"), (50, None))
    assert run(cache, prompt, 0) == InputUse(50, 0, 2000, 0)
    assert run(cache, prompt, 1) == InputUse(50, 2000, 0, 0)


def test_a_prefix_below_the_minimum_is_not_cached() -> None:
    cache, prompt = PromptCache(), sequence((1023, "5m"), (50, None))
    assert run(cache, prompt, 0) == run(cache, prompt, 1) == InputUse(1073)


def test_an_entry_expires_and_a_hit_refreshes_it() -> None:
    cache, prompt = PromptCache(), sequence((2000, "5m"))
    run(cache, prompt, 0)
    assert run(cache, prompt, 299).read == 2000
    assert run(cache, prompt, 598).read == 2000
    assert run(cache, prompt, 898).read == 0


def test_an_hour_lasts_an_hour() -> None:
    cache, prompt = PromptCache(), sequence((2000, "1h"))
    assert run(cache, prompt, 0) == InputUse(0, 0, 0, 2000)
    assert run(cache, prompt, 3599).read == 2000


def test_an_entry_is_usable_only_when_the_answer_begins() -> None:
    cache, prompt = PromptCache(), sequence((2000, "5m"))
    first = cache.look_up(WORKSPACE, prompt, SMALLEST, 0)
    assert cache.look_up(WORKSPACE, prompt, SMALLEST, 0.5).use.read == 0
    cache.commit(WORKSPACE, first.writes, 0, 0.8)
    assert cache.look_up(WORKSPACE, prompt, SMALLEST, 1).use.read == 2000
    assert cache.look_up(WORKSPACE, prompt, SMALLEST, 300.5).use.read == 2000, "refreshed by the hit"


def test_its_time_runs_from_the_start_of_the_request() -> None:
    cache, prompt = PromptCache(), sequence((2000, "5m"))
    cache.commit(WORKSPACE, cache.look_up(WORKSPACE, prompt, SMALLEST, 0).writes, 0, 200)
    assert cache.look_up(WORKSPACE, prompt, SMALLEST, 300).use.read == 0


def test_workspaces_share_nothing() -> None:
    cache, prompt = PromptCache(), sequence((2000, "5m"))
    run(cache, prompt, 0)
    assert run(cache, prompt, 1, workspace="wrkspc_2").read == 0


def test_a_conversation_reads_what_the_turn_before_wrote() -> None:
    cache = PromptCache()
    run(cache, sequence((2000, None), (100, "5m")), 0)
    assert run(cache, sequence((2000, None), (100, None), (300, None), (200, "5m")), 1) == InputUse(0, 2100, 500, 0)


@pytest.mark.parametrize(("added", "read"), [(19, 2000), (20, 0)])
def test_reads_look_back_twenty_positions(added: int, read: int) -> None:
    cache = PromptCache()
    run(cache, sequence((2000, "5m")), 0)
    grown = sequence((2000, None), *[(10, None)] * (added - 1), (10, "5m"))
    assert run(cache, grown, 1).read == read


def test_mixed_lifetimes_are_billed_by_part() -> None:
    cache = PromptCache()
    prompt = sequence((2000, "1h"), (1000, "1h"), (500, "5m"), (40, None))
    run(cache, sequence((2000, "1h")), 0)
    assert run(cache, prompt, 1) == InputUse(40, 2000, 500, 1000)


def test_clearing_forgets() -> None:
    cache, prompt = PromptCache(), sequence((2000, "5m"))
    run(cache, prompt, 0)
    cache.clear()
    assert run(cache, prompt, 1).read == 0


BLOCKS = st.lists(st.tuples(st.integers(1, 3000), st.sampled_from([None, None, "5m"])), min_size=1, max_size=30)


@settings(max_examples=40)
@given(history=st.lists(BLOCKS, min_size=1, max_size=4))
def test_the_parts_always_add_up_to_the_prompt(history: list[list[tuple[int, str | None]]]) -> None:
    cache = PromptCache()
    for now_s, blocks in enumerate(history):
        prompt = sequence(*blocks)
        use = run(cache, prompt, now_s)
        assert use.total == prompt[-1].tokens
        assert min(use.uncached, use.read, use.written_5m, use.written_1h) >= 0
        again = run(cache, prompt, now_s + 0.5)
        assert again.written == 0
        assert again.uncached == use.uncached


def model(name: str = "claude-sonnet-5-5") -> Model:
    found = load_catalogue().model(name)
    assert found is not None
    return found


def request(**members: Any) -> MessageRequest:
    body = {"model": "claude-sonnet-5-5", "max_tokens": 10, "messages": [{"role": "user", "content": "how are you today"}], **members}
    return decode_message(msgspec.json.encode(body))


def digests(made: MessageRequest) -> list[bytes]:
    return [position.digest for position in positions(made, model(), made.speed or "standard")]


def test_tokens_of_all_sections_count() -> None:
    tool = {"name": "look", "description": "d" * 400, "input_schema": {"type": "object"}}
    plain = count_tokens(request(), model())
    assert count_tokens(request(system="s" * 400), model()) == plain + 130
    assert count_tokens(request(tools=[tool]), model()) > plain + 286 + 130
    assert positions(request(system="s" * 400), model(), "standard")[-1].tokens == plain + 130


def test_the_new_tokenizer_makes_more_tokens_of_the_same_text() -> None:
    long = request(system="s" * 40_000)
    assert count_tokens(long, model("claude-sonnet-5-5")) == pytest.approx(1.3 * count_tokens(long, model("claude-sonnet-4-6")), rel=0.01)


def test_a_breakpoint_itself_does_not_change_the_prefix() -> None:
    marked = request(system=[{"type": "text", "text": "rules", "cache_control": {"type": "ephemeral"}}])
    assert digests(marked) == digests(request(system="rules"))
    assert has_breakpoints(marked)
    assert not has_breakpoints(request(system="rules"))


def test_web_search_and_citations_leave_the_tools_alone() -> None:
    def sections(*tools: dict[str, str], citations: bool = False) -> list[bytes]:
        document = {"type": "document", "source": {"type": "text", "data": "x"}, "citations": {"enabled": citations}}
        made = request(system="rules", tools=list(tools), messages=[{"role": "user", "content": [document]}])
        return digests(made)[-3:]

    look, search = {"name": "look"}, {"name": "web_search", "type": "web_search_20260209"}
    plain, searching, citing = sections(look), sections(search, look), sections(look, citations=True)
    assert plain[1] not in (searching[1], citing[1])
    assert plain[0] == searching[0] == citing[0]


def test_an_image_anywhere_invalidates_the_messages() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/x.png"}}
    turns: list[dict[str, Any]] = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    before = digests(request(system="rules", messages=[*turns, {"role": "user", "content": "more"}]))
    after = digests(request(system="rules", messages=[*turns, {"role": "user", "content": [image]}]))
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)


def test_old_models_forget_the_thinking_of_earlier_questions() -> None:
    thought = [{"type": "thinking", "thinking": "t" * 400, "signature": "s"}, {"type": "text", "text": "hello"}]
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": thought}]
    asked = request(messages=[*turns, {"role": "user", "content": "more"}])
    answered = request(messages=[*turns, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]}])
    old, new = model("claude-haiku-4-5"), model("claude-sonnet-4-6")
    assert [len(positions(made, old, "standard")) for made in (asked, answered)] == [3, 4]
    assert [len(positions(made, new, "standard")) for made in (asked, answered)] == [4, 4]


def test_automatic_caching_walks_back_from_what_cannot_be_marked() -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"}]}]
    made = request(messages=turns, cache_control={"type": "ephemeral"})
    assert [position.ttl for position in positions(made, model("claude-sonnet-4-6"), "standard")] == ["5m", None]


def test_automatic_caching_marks_the_last_block() -> None:
    made = request(system="rules", cache_control={"type": "ephemeral", "ttl": "1h"})
    assert made.cache_control == CacheControl("ephemeral", "1h")
    assert [position.ttl for position in positions(made, model(), "standard")] == [None, "1h"]


@every(
    ("members", "unchanged"),
    [
        ({"system": "other"}, [True, False, False]),
        ({"speed": "fast"}, [True, False, False]),
        ({"thinking": {"type": "between_tools"}}, [True, True, False]),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}, "tool_choice": {"type": "auto"}}, [True, True, True]),
        ({"output_config": {"effort": "low"}}, [True, True, False]),
        ({"tool_choice": {"type": "none"}}, [True, True, False]),
        ({"max_tokens": 99, "metadata": {"user_id": "x"}, "stream": True}, [True, True, True]),
        ({"tools": [{"name": "other"}]}, [False, False, False]),
    ],
)
def test_what_invalidates_which_section(members: dict[str, Any], unchanged: list[bool]) -> None:
    base: dict[str, Any] = {"tools": [{"name": "look"}], "system": "rules"}
    before, after = digests(request(**base)), digests(request(**base | members))
    assert [one == other for one, other in zip(before, after, strict=True)] == unchanged
