"""Kills an update at each step that changes the disk, or at random moments, and looks at what is left.

Run as a program, for it forks: `python -m tests.runtime.killed_updates WORK BUNDLE BUNDLE [TIMES [SEED]]`.
The first bundle runs, the second one is released and stays; then the same with one that goes back in its
probation. Without TIMES it kills before each change of the disk in turn, as an audit hook of Python sees
them; with it, so many times at a random moment, of each of both. It prints how often.
"""

from __future__ import annotations

import http.server
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.runtime.release_repositories import make_repository

from ecovision_edge.updates.asking import Limits, Question
from ecovision_edge.updates.fetching import fetch
from ecovision_edge.updates.store import BundleStore

CHANGES = {
    f"os.{name}" for name in ("rename", "remove", "rmdir", "mkdir", "symlink", "link", "chmod", "truncate")
}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
KILLED = -signal.SIGKILL


class World:
    """A repository with its server, a device whose store has the first bundle, and copies of that store."""

    def __init__(self, work: Path, first: Path, second: Path) -> None:
        self.work, self.log = work, work / "asked.txt"
        make_repository(work / "repository", first, second)
        self.store, self.fresh = work / "store", work / "fresh"
        self.url = self._serve(work / "repository")
        self.goes_back = False
        shutil.copytree(first, self.fresh / "incoming" / "first")
        store = BundleStore(self.fresh)
        self.old = store.install(self.fresh / "incoming" / "first")
        store.activate(self.old)

    def _serve(self, folder: Path) -> str:
        log = self.log

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments: object) -> None:
                super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

            def log_message(self, *_: object) -> None:
                with log.open("a") as stream:
                    stream.write(f"{self.path}\n")

        class Server(http.server.HTTPServer):
            def handle_error(self, *_: object) -> None:
                """A client that was killed is no error."""

        server = Server(("127.0.0.1", 0), Handler)
        self.server = os.fork()
        if self.server == 0:
            server.serve_forever()
        server.server_close()
        return f"http://127.0.0.1:{server.server_address[1]}/"

    def begin(self) -> None:
        """Put the device back to the first bundle, and forget what was asked."""
        shutil.rmtree(self.store, ignore_errors=True)
        shutil.copytree(self.fresh, self.store, symlinks=True)
        self.log.write_text("")

    def update(self) -> None:
        """What an update does, without the gates: these change nothing."""
        store = BundleStore(self.store)
        store.repair()
        running = store.current() or ""
        root = str(self.work / "repository/metadata/1.root.json")
        question = Question(self.url, str(self.store), "stable", "bin", running, "/nonesuch", root, Limits())
        found = fetch(question, sleep=lambda _: None)
        if found.outcome == "fetched":
            store.succeed(found.bundle, running or None, probation=60.0)
            store.prune()
        if self.goes_back and store.current() != self.old:
            store.started()
            store.watch(found.bundle, {"items": 1, "unknown": 1})
            store.refuse(store.current() or "", "it calls all unknown")

    def in_a_child(self, before: Callable[[], None]) -> int:
        """Its exit status; below 0 the signal that ended it."""
        child = os.fork()
        if child == 0:
            status = 1
            try:
                before()
                self.update()
                status = 0
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def look(self, where: object) -> None:
        """Check that a bundle is current and whole, and that the update then ends as it would have."""
        store = BundleStore(self.store)
        assert (self.store / "current/bundle.json").is_file(), where
        assert store.has(store.current() or ""), where
        assert self.in_a_child(lambda: None) == 0, where
        assert self.seen() == self.end, (where, self.seen(), self.end)

    def seen(self) -> object:
        """What there is: bundles, links, and whatever should not be left."""
        store = BundleStore(self.store)
        names = sorted(path.relative_to(self.store).as_posix() for path in self.store.rglob("*"))
        return store.current(), store.previous(), str((self.store / "current").readlink()), names

    def whole_run(self) -> None:
        """Let one update go through, and remember how it ends."""
        self.begin()
        self.new = ""
        assert self.in_a_child(lambda: None) == 0
        self.new = BundleStore(self.store).current() or ""
        assert (self.new == self.old) == self.goes_back
        self.end = self.seen()


def die_before(step: int) -> Callable[[], None]:
    """Let this process be killed before the change of the disk of that number, from 0."""

    def begin() -> None:
        left = step

        def count() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event in CHANGES or (event == "open" and int(str(arguments[2] or 0)) & WRITES):
                count()

        fsync = os.fsync
        os.fsync = lambda descriptor: (count(), fsync(descriptor))[1]  # type: ignore[assignment]
        sys.addaudithook(hook)

    return begin


def kill_each_step(world: World, first: int = 0) -> int:
    """Kill before each change in turn, from the `first` one; returns how many there are."""
    for step in range(first, 10_000):
        world.begin()
        status = world.in_a_child(die_before(step))
        if status == 0:
            return step
        assert status == KILLED, (step, status)
        world.look(step)
        files = Counter(line for line in world.log.read_text().splitlines() if "/files/" in line)
        assert max(files.values(), default=0) <= 1, (step, files)
    raise AssertionError("it never ends")


def kill_at_random(world: World, times: int, seed: int) -> int:
    """Kill at random moments; returns how often it was in time."""
    rng, killed = random.Random(seed), 0
    world.begin()
    begun = time.monotonic()
    assert world.in_a_child(lambda: None) == 0
    longest = time.monotonic() - begun
    for number in range(times):
        world.begin()
        moment = rng.uniform(0, longest)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        status = world.in_a_child(lambda: signal.setitimer(signal.ITIMER_REAL, moment) and None)  # noqa: B023
        killed += status != 0
        world.look((number, moment))
    return killed


def main(work: str, first: str, second: str, times: str = "", seed: str = "1") -> None:
    """Set the world up and kill."""
    world = World(Path(work), Path(first), Path(second))
    try:
        steps = 0
        for world.goes_back in (False, True):
            world.whole_run()
            if times:
                print(kill_at_random(world, int(times), int(seed)))
            else:
                print(steps := kill_each_step(world, steps))
    finally:
        os.kill(world.server, signal.SIGKILL)
        os.waitpid(world.server, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
