"""Facts about the end of the process."""

import re
import subprocess
import sys

import pytest

from ecovision_edge.base import ending
from ecovision_edge.cli import running
from ecovision_edge.service import ServiceNeeds, ServiceOptions, service_unit

PROGRAM = """
import atexit, os, sys, threading
from ecovision_edge.base import ending
from ecovision_edge.cli import app

class Last:
    def __del__(self, write=os.write):
        write(1, b", taken apart")

def work(arguments):
    atexit.register(sys.stdout.write, ", handled")
    if "hangs" in arguments:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    if "stays" in arguments:
        threading.Thread(target=threading.Event().wait, name="a library's").start()
    if "fails" in arguments:
        raise RuntimeError("a mistake of ours")
    print(*arguments, end="")  # not flushed
    if "exits" in arguments:
        sys.exit(3)
    return 7

last, app._main = Last(), work
if "stays" in sys.argv:
    ending.LIMIT = 0.01
sys.exit(app.main())
"""


@pytest.mark.parametrize(
    ("argument", "status", "said"),
    [
        ("hangs", 7, b"hangs, handled"),
        ("ends", 7, b"ends, handled, taken apart"),
        ("hangs fails", 1, b", handled"),
        ("hangs exits", 3, b"hangs exits, handled"),
    ],
)
def test_a_thread_that_hangs_does_not_spoil_the_end(python, argument, status, said):
    """The interpreter, which would abort the process if the thread returned then, is not taken apart."""
    ran = python("-c", PROGRAM, *argument.split())
    assert ran.returncode == status, ran.stderr.decode()
    assert ran.stdout == said
    assert (b"a mistake of ours" in ran.stderr) == (status == 1)


@pytest.mark.parametrize(("argument", "status"), [("stays", 7), ("stays exits", 3)])
def test_a_thread_for_which_the_interpreter_waits_does_not_keep_the_process(python, argument, status):
    """Of a library: no daemon, and it never returns."""
    ran = python("-c", PROGRAM, *argument.split(), timeout=60)
    assert ran.returncode == status, ran.stderr.decode()
    assert ran.stdout == argument.encode()
    assert ran.stderr == b"the process ends without its threads, which do not return: a library's\n"


def test_the_end_stays_within_what_systemd_waits():
    """The loop's after a signal, the interpreter's, and what has to be flushed."""
    unit = service_unit(ServiceOptions(command=("/bin/run",), needs=ServiceNeeds()))
    (allowed,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert float(allowed) >= running.PATIENCE + ending.LIMIT + ending.PATIENCE


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
