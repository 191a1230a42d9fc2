"""An ordinary application under load, for the fault tests: it runs in a pod on the real SDK, does what it is told over HTTP on port 8080,
and keeps count of what it got. On SIGTERM it asks no more, lets its running requests end, prints its counts and ends.
"""

import asyncio
import json
import signal
import time
from collections import Counter, deque

import anthropic

MODEL = "claude-sonnet-4-6"
QUESTION = [{"role": "user", "content": "Where is my order?"}]

client = anthropic.AsyncAnthropic(max_retries=0, timeout=60)
outcomes = Counter()
streams = Counter()
refusals = deque(maxlen=200)
load = {"perSecond": 0.0}
running = set()
stopped = asyncio.Event()


def note_error(error):
    """Counts an error as `status reason`, and keeps what a test looks at."""
    if not isinstance(error, anthropic.APIStatusError):
        outcomes[type(error).__name__] += 1
        refusals.append({"status": 0, "text": repr(error)})
        return
    headers = error.response.headers
    reason = headers.get("x-claudeops-reason", "-")
    outcomes[f"{error.status_code} {reason}"] += 1
    refusals.append(
        {"status": error.status_code, "reason": reason, "retryAfter": headers.get("retry-after"), "body": error.body, "text": str(error)}
    )


async def ask():
    """One short answer."""
    outcomes["asked"] += 1
    try:
        await client.messages.create(model=MODEL, max_tokens=20, messages=QUESTION)
        outcomes["ok"] += 1
    except anthropic.APIError as error:
        note_error(error)


async def stream():
    """One long answer, event by event. Whole means that it ended as the API ends one."""
    last, has_begun = "", False
    try:
        async with await client.messages.create(model=MODEL, max_tokens=240, messages=QUESTION, stream=True) as events:
            async for event in events:
                last = event.type
                if last == "content_block_delta" and not has_begun:
                    has_begun = True
                    streams["begun"] += 1
        streams["whole" if last == "message_stop" else f"ended at {last}"] += 1
    except (anthropic.APIError, OSError) as error:
        streams[f"cut by {type(error).__name__} after {last or 'nothing'}"] += 1


def start(coroutine):
    task = asyncio.create_task(coroutine)
    running.add(task)
    task.add_done_callback(running.discard)


async def ask_at_the_rate():
    due = time.monotonic()
    while not stopped.is_set():
        rate = load["perSecond"]
        now = time.monotonic()
        if not rate:
            due = now
        elif now >= due:
            start(ask())
            due = max(due + 1 / rate, now - 0.2)
            continue
        await asyncio.sleep(0.01)


def counts():
    return {"running": len(running), "outcomes": outcomes, "streams": streams, "refusals": list(refusals)}


async def read_state():
    reader, writer = await asyncio.open_connection("127.0.0.1", 4143)
    writer.write(b"GET /state HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    _, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return json.loads(body)


async def act(path, words):
    match path:
        case "/load":
            load.update(words)
        case "/ask":
            await ask()
        case "/streams":
            for _ in range(words["count"]):
                start(stream())
        case "/forget":
            outcomes.clear()
            streams.clear()
            refusals.clear()
        case "/state":
            return await read_state()
    return counts()


async def serve(reader, writer):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        words = json.loads(await reader.readexactly(length) or b"{}")
        status, answer = 200, await act(head.split(b" ")[1].decode(), words)
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        status, answer = 503, {"error": repr(error)}
    payload = json.dumps(answer).encode()
    writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (status, len(payload), payload))
    writer.close()


async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await asyncio.start_server(serve, "0.0.0.0", 8080)
    asking = asyncio.create_task(ask_at_the_rate())
    await stopped.wait()
    await asking
    ending = len(running)
    if running:
        await asyncio.wait(running)
    print(json.dumps({**counts(), "ending": ending}), flush=True)


asyncio.run(main())
