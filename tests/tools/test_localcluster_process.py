"""The parts of the local cluster that need other processes, or a port."""

import os
import sys
from subprocess import PIPE, Popen

import pytest
from tools.localcluster.command import run
from tools.localcluster.errors import LocalClusterError
from tools.localcluster.forward import listen
from tools.localcluster.process import find_by_command_line


def test_a_process_is_found_by_whole_words_of_its_command_line() -> None:
    mark = f"some-mark-{os.getpid()}"
    with Popen([sys.executable, "-c", "print(); input()", mark], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert [one.pid for one in find_by_command_line(mark)] == [process.pid]
        assert find_by_command_line(mark[:-1]) == []
        process.communicate(b"\n")


def test_a_failing_command_is_reported_with_what_it_said() -> None:
    with pytest.raises(LocalClusterError, match=r"code 3:\nno such luck"):
        run([sys.executable, "-c", "import sys; print('no such luck', file=sys.stderr); sys.exit(3)"])


def test_a_taken_port_is_replaced_by_a_free_one() -> None:
    with listen() as first, listen(first.getsockname()[1]) as second:
        assert second.getsockname()[1] != first.getsockname()[1]
