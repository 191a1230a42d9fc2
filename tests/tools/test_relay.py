"""The relay, as a process of its own between real sockets."""

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.localcluster.forward import RELAY_MODULE, listen

REPOSITORY = Path(__file__).parents[2]
TIMEOUT_S = 20.0


@contextlib.contextmanager
def relay(listener: socket.socket, port: int, *watched: int) -> Iterator[subprocess.Popen[bytes]]:
    fd = listener.fileno()
    argv = [sys.executable, "-m", RELAY_MODULE, str(fd), "127.0.0.1", str(port), *map(str, watched)]
    with subprocess.Popen(argv, cwd=REPOSITORY, pass_fds=(fd,)) as process:
        try:
            yield process
        finally:
            process.terminate()


def call(listener: socket.socket) -> socket.socket:
    return socket.create_connection(listener.getsockname(), TIMEOUT_S)


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture
def target() -> Iterator[socket.socket]:
    with listen() as listener:
        listener.settimeout(TIMEOUT_S)
        yield listener


def test_what_is_sent_before_the_relay_even_runs_arrives_whole_and_is_answered(target: socket.socket) -> None:
    sent = os.urandom(3_000_000)

    def answer() -> None:
        connection, _ = target.accept()
        with connection:
            connection.sendall(hashlib.sha256(read_all(connection)).digest())

    server = threading.Thread(target=answer)
    server.start()
    with listen() as listener, call(listener) as caller:
        caller.sendall(sent[:1000])
        with relay(listener, target.getsockname()[1]):
            caller.sendall(sent[1000:])
            caller.shutdown(socket.SHUT_WR)
            assert read_all(caller) == hashlib.sha256(sent).digest()
    server.join()


def test_a_refused_target_ends_the_call() -> None:
    with listen() as closed:
        port = closed.getsockname()[1]
    with listen() as listener, relay(listener, port), call(listener) as caller, contextlib.suppress(ConnectionResetError):
        assert caller.recv(1) == b""


def test_a_target_that_hangs_up_ends_the_call(target: socket.socket) -> None:
    with listen() as listener, relay(listener, target.getsockname()[1]), call(listener) as caller:
        connection, _ = target.accept()
        connection.close()
        assert caller.recv(1) == b""


def test_it_ends_with_the_process_that_it_watches(target: socket.socket) -> None:
    watched = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with watched, listen() as listener, relay(listener, target.getsockname()[1], watched.pid) as process:
        watched.communicate(b"\n")
        assert process.wait(TIMEOUT_S) == 0
