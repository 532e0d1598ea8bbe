"""Facts about threads that somebody owns."""

import threading

import pytest

from ecovision_edge.base.threads import Worker

PROMPT = 20.0  # seconds: a safety net, nowhere expected to pass


def test_a_worker_is_waited_for_no_longer_than_is_given():
    """And without a limit where none is."""
    go = threading.Event()
    worker = Worker(lambda: go.wait(PROMPT), "works")
    assert (worker.started, worker.alive, worker.join()) == (False, False, True)
    worker.start()
    assert (worker.started, worker.alive, worker.join(0.0)) == (True, True, False)
    go.set()
    assert worker.join()
    assert (worker.started, worker.alive) == (True, False)


def test_a_worker_does_not_wait_for_itself():
    """Whoever closes something may be called by the thread that it closes."""
    seen = []
    worker = Worker(lambda: seen.append(worker.join()), "works")
    worker.start()
    assert worker.join(PROMPT)
    assert seen == [True]


def test_a_worker_is_a_daemon_of_its_name_and_starts_once():
    """So that a driver that hangs keeps no process from ending."""
    seen = []
    worker = Worker(lambda: seen.append(threading.current_thread()), "works")
    worker.start()
    assert worker.join(PROMPT)
    assert (seen[0].name, seen[0].daemon) == ("works", True)
    with pytest.raises(RuntimeError):
        worker.start()
