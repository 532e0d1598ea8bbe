"""Facts about the end of the process."""

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, os, sys, threading
from ecovision_edge.cli import app

class Last:
    def __del__(self, write=os.write):
        write(1, b", taken apart")

def work(arguments):
    atexit.register(sys.stdout.write, ", handled")
    if "hangs" in arguments:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    if "fails" in arguments:
        raise RuntimeError("a mistake of ours")
    print(*arguments, end="")  # not flushed
    return 7

last, app._main = Last(), work
sys.exit(app.main())
"""


@pytest.mark.parametrize(
    ("argument", "status", "said"),
    [
        ("hangs", 7, b"hangs, handled"),
        ("ends", 7, b"ends, handled, taken apart"),
        ("hangs fails", 1, b", handled"),
    ],
)
def test_a_thread_that_hangs_does_not_spoil_the_end(python, argument, status, said):
    """The interpreter, which would abort the process if the thread returned then, is not taken apart."""
    ran = python("-c", PROGRAM, *argument.split())
    assert ran.returncode == status, ran.stderr.decode()
    assert ran.stdout == said
    assert (b"a mistake of ours" in ran.stderr) == (status == 1)


STUCK = """
import sys, threading
from ecovision_edge.base import ending
from ecovision_edge.cli import app

def write():
    print("x" * 2**20, flush=True)  # more than a pipe holds, and nobody reads it

def work(arguments):
    threading.Thread(target=write, daemon=True).start()
    sys.stdin.readline()
    return 7

ending.PATIENCE, app._main = 0.05, work
sys.exit(app.main())
"""


def test_a_thread_that_hangs_in_standard_output_does_not_either():
    """It holds the lock that a flush needs, and for which the interpreter would abort the process."""
    command = [sys.executable, "-c", STUCK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.read(1) == b"x"
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.wait(60) == 7
