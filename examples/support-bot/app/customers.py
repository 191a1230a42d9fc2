"""Customers of the shop: asks each service at the rate that ``/rates/NAME`` (requests a minute) says, and counts how it went.

``GET /stats`` gives the counts since the start by service: asked, ok, failed by error, in flight, and the last error's text.
"""

import asyncio
import collections
import json
import pathlib
import random

SERVICES = ("support-bot", "invoice-reader")
counts = {name: {"asked": 0, "ok": 0, "inFlight": 0, "failed": collections.Counter(), "lastError": ""} for name in SERVICES}


def rate_per_s(name):
    """Requests a second that the mounted file asks for; 0 while there is none."""
    try:
        return float(pathlib.Path("/rates", name).read_text()) / 60
    except (OSError, ValueError):
        return 0.0


async def ask(name):
    count = counts[name]
    count["asked"] += 1
    count["inFlight"] += 1
    try:
        async with asyncio.timeout(90):
            reader, writer = await asyncio.open_connection(name, 8080)
            question = f"Order {random.randrange(10**6)}: where is it?".encode()
            writer.write(b"POST /ask HTTP/1.1\r\nhost: %b\r\ncontent-length: %d\r\n\r\n%b" % (name.encode(), len(question), question))
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
        if head.startswith(b"HTTP/1.1 200"):
            count["ok"] += 1
        else:
            count["lastError"] = json.loads(body)["answer"] if body else "connection closed"
            count["failed"][count["lastError"].split(":")[0]] += 1
    except (OSError, TimeoutError) as error:
        count["lastError"] = repr(error)
        count["failed"][type(error).__name__] += 1
    finally:
        count["inFlight"] -= 1


async def come(name):
    """Poisson arrivals. A pause is cut at half a second to read the rate again, which a memoryless process may do."""
    running = set()
    while True:
        rate = rate_per_s(name)
        pause_s = random.expovariate(rate) if rate else 1.0
        await asyncio.sleep(min(0.5, pause_s))
        if pause_s <= 0.5:
            task = asyncio.create_task(ask(name))
            running.add(task)
            task.add_done_callback(running.discard)


async def tell(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    payload = json.dumps(counts).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    writer.write(head % len(payload) + payload)
    await writer.drain()
    writer.close()


async def main():
    await asyncio.start_server(tell, "0.0.0.0", 8080)
    await asyncio.gather(*(come(name) for name in SERVICES))


asyncio.run(main())
