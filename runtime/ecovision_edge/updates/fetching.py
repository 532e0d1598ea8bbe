"""Asks a repository which release this device is to run, and fetches it: in a process of its own.

`python -m ecovision_edge.updates.fetching`, as `updates.children` says; it is the one process that loads
python-tuf. It adds a whole bundle to the store or nothing, and activates none.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path

from ecovision_edge.base.extras import require
from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.files import read_regular_file
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import FetchError, OptionError, UntrustedError, UpdateError
from ecovision_edge.releases.channel import Channel, Release
from ecovision_edge.updates.address import check_url
from ecovision_edge.updates.asking import WITHDRAWN, Found, Outcome, Question
from ecovision_edge.updates.children import answer, work
from ecovision_edge.updates.clock import floor_of, wrong_clock
from ecovision_edge.updates.state import State
from ecovision_edge.updates.store import BundleStore

__all__ = ["decide", "fetch"]


def fetch(
    question: Question,
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Found:
    """Ask, and fetch what is to run; a bundle that is fetched is in the store, and not active.

    Args:
        question: What to ask.
        clock: Unix seconds.
        sleep: Waits seconds, between tries and to keep to a rate.

    Raises:
        OptionError: no such address, channel or file of a root.
        UntrustedError: what the repository says is not to be trusted.
        FetchError: it cannot be reached, or not in time.
        StoreError: the disk is full, or cannot be written.
        UpdateError: the release is larger than it may be.
        MissingDependencyError: the extra `update` is not installed.
    """
    require("tuf", "update", "7")
    require("urllib3", "update", "2.2")
    wrong = wrong_clock(BundleStore(question.store).state().seen, clock)
    try:
        # Whoever asked may have been killed, and asks again while the first process still fetches.
        with BundleStore(question.store).alone("fetch"):
            return _fetch(question, clock, sleep, wrong or "")
    except (FetchError, UntrustedError) as e:
        if wrong is None:
            raise
        raise type(e)(e.message, fix=f"set the clock first: {wrong}") from e


def _fetch(
    question: Question, clock: Callable[[], float], sleep: Callable[[float], None], wrong: str
) -> Found:
    from ecovision_edge.updates.download import Incoming
    from ecovision_edge.updates.trust import Repository
    from ecovision_edge.updates.web import Web

    store = BundleStore(question.store)
    state, web = store.state(), Web(question.limits, sleep=sleep)
    floor = floor_of(state.seen)
    repository = Repository(
        check_url(question.url),
        store.root / "metadata",
        web,
        anchor=None if question.root is None else _read_root(Path(question.root)),
        floor=floor,
    )
    until = repository.refresh()
    channel = repository.channel(question.channel)
    outcome, release = decide(channel, question.device, question.running, state)
    known = [(store.folder(bundle), True) for bundle in store.installed()]
    incoming = Incoming(store.root, [*known, (Path(question.base), False)])
    mended = outcome == "current" and release is not None and store.has(release.bundle)
    wanted = release if mended or outcome == "fetched" else None
    if wanted is not None and _has_whole(store, wanted):
        wanted, mended = None, False
    incoming.clean(wanted)
    if wanted is not None:
        if wanted.bytes > question.limits.bytes:
            raise UpdateError(
                f"release {wanted.name} {wanted.version} is too large",
                expected=f"at most {question.limits.bytes / 1e6:.0f} MB",
                found=f"{wanted.bytes / 1e6:.0f} MB",
            )
        store.install(incoming.take(wanted, repository.address, web), again=True)
    gone = {r.bundle for r in channel.releases if r.withdrawn}
    before = {refusal.bundle for refusal in state.refused if refusal.reason == WITHDRAWN}
    return Found(
        outcome,
        "" if release is None else release.bundle,
        "" if release is None else release.name,
        "" if release is None else release.version,
        seen=_certain(channel, until, clock(), floor),
        fetched=web.came,
        withdrawn=tuple(sorted(gone & {*store.installed(), question.running})),
        back=tuple(sorted(before - gone)),
        clock=wrong,
        mended=mended,
    )


def decide(channel: Channel, device: str, running: str, state: State) -> tuple[Outcome, Release | None]:
    """Return what is to be done, and the release that this is about.

    Args:
        channel: What was released.
        device: The device's id.
        running: Id of the bundle that runs.
        state: What the store remembers.
    """
    refused = {refusal.bundle for refusal in state.refused if refusal.reason != WITHDRAWN}
    release, now = channel.choose(device, refused), channel.find(running)
    if state.pinned is not None:
        return "pinned", release
    if now is not None and now.withdrawn and release is None:
        return ("withdrawn" if running == state.active else "none"), None
    if release is None:
        return "none", None
    if release.bundle == running:
        return "current", release
    if now is not None and not now.withdrawn and _place(channel, now) > _place(channel, release):
        return "current", now  # a rollout was lowered: whoever has the release keeps it
    return "fetched", release


def _place(channel: Channel, release: Release) -> int:
    return channel.releases.index(release)


def _has_whole(store: BundleStore, release: Release) -> bool:
    from ecovision_edge.updates.download import is_whole

    folder = store.folder(release.bundle)
    return store.has(release.bundle) and all(is_whole(folder / f.file, f) for f in release.files)


def _certain(channel: Channel, until: float, now: float, floor: float) -> float:
    """Return the latest time that it surely is: what is signed, and what has not expired, bound the clock."""
    days = [datetime.fromisoformat(release.added) for release in channel.releases]
    times = [floor, now, *(day.replace(tzinfo=timezone.utc).timestamp() for day in days)]
    return max(time for time in times if time == floor or time < until)


def _read_root(path: Path) -> bytes:
    from ecovision_edge.updates.roots import MAX_ROOT_BYTES

    try:
        data = read_regular_file(path, MAX_ROOT_BYTES)
    except (OSError, ValueError) as e:
        found = reason_of(e)
        raise OptionError(f"--root {path}", expected="the repository's root.json", found=found) from e
    if len(data) > MAX_ROOT_BYTES:
        raise OptionError(f"--root {path}", expected=f"at most {MAX_ROOT_BYTES} bytes", found="more")
    return data


def _answer(request: Mapping[str, JsonValue]) -> None:
    answer(fetch(Question.of(dict(request))).to_json())


if __name__ == "__main__":
    sys.exit(work(_answer))
