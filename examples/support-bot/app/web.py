"""The small web server that both bots share: ``POST /ask`` calls ``answer(question)``, ``GET /healthz`` says that the process runs."""

import asyncio
import json
import signal


def serve(answer, port=8080):
    """Serves until SIGTERM. ``answer`` is a coroutine function: question → text; its errors become 502 with the error's name."""
    asyncio.run(_serve(answer, port))


async def _serve(answer, port):
    async def talk(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        method, path = head.split(b" ", 2)[:2]
        length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        body = await reader.readexactly(length)
        status, text = 200, "ok"
        if method == b"POST" and path == b"/ask":
            try:
                text = await answer(body.decode())
            except Exception as error:  # noqa: BLE001  whatever goes wrong, the customer gets an answer
                status, text = 502, type(error).__name__ + ": " + str(error)[:200]
        payload = json.dumps({"answer": text}).encode()
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (status, len(payload), payload))
        await writer.drain()
        writer.close()

    async def safely(reader, writer):
        try:
            await talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(safely, "0.0.0.0", port, backlog=512)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    server.close()
    pending = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    await asyncio.wait(pending or [asyncio.create_task(asyncio.sleep(0))], timeout=25)
