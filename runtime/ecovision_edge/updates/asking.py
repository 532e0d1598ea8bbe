"""What the process that fetches is asked, and what it answers."""

from __future__ import annotations

from typing import Literal, cast, get_args

from ecovision_edge.base.fields import Fields, JsonValue
from ecovision_edge.base.records import dataclass

__all__ = ["WITHDRAWN", "Found", "Limits", "Outcome", "Question"]

Outcome = Literal["none", "current", "pinned", "fetched", "withdrawn"]
"""Of a question: there is no release for this device; it runs it; another bundle is pinned; the release is in
the store now; what it runs was withdrawn, and there is nothing else for it."""

_MOST = 4096  # characters of a path, or of an address

WITHDRAWN = "it was withdrawn from its channel"
"""The reason by which a withdrawn bundle is refused; it may come back."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an update may take.

    Args:
        bytes: Of all files of a bundle.
        seconds: For all that is fetched.
        stall: Seconds in which at least one byte has to come.
        rate: Bytes a second; None takes what comes.
    """

    bytes: int = 500_000_000
    seconds: float = 1800.0
    stall: float = 30.0
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask, and how.

    Args:
        url: The repository's address.
        store: Folder of the store.
        channel: Name of the channel.
        device: The device's id; it decides whether a rollout includes it.
        running: Id of the bundle that runs, of the store or not.
        base: Folder of the bundle that the program was installed with: its files need not be fetched.
        root: File of the repository's first root; None if the device knows it already.
        limits: What it may take.
    """

    url: str
    store: str
    channel: str
    device: str
    running: str
    base: str
    root: str | None = None
    limits: Limits = Limits()

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        limits = self.limits
        return {
            "url": self.url,
            "store": self.store,
            "channel": self.channel,
            "device": self.device,
            "running": self.running,
            "base": self.base,
            "root": self.root,
            "bytes": limits.bytes,
            "seconds": limits.seconds,
            "stall": limits.stall,
            "rate": limits.rate,
        }

    @classmethod
    def of(cls, value: JsonValue) -> Question:
        """Read and validate; raises ContractError."""
        f = Fields.of(value, "the question")
        limits = Limits(
            bytes=f.integer("bytes", 1, 2**50),
            seconds=f.number("seconds", 0, 1e9),
            stall=f.number("stall", 0, 1e9),
            rate=f.number("rate", 1, 1e12) if f.has("rate") else None,
        )
        question = cls(
            url=f.text("url", most=_MOST),
            store=f.text("store", most=_MOST),
            channel=f.text("channel"),
            device=f.text("device"),
            running=f.text("running"),
            base=f.text("base", most=_MOST),
            root=f.text_or_none("root", most=_MOST),
            limits=limits,
        )
        f.done()
        return question


@dataclass(frozen=True, slots=True)
class Found:
    """What came of it.

    Args:
        outcome: See `Outcome`.
        bundle: Id of the release; empty if there is none.
        name: Its name.
        version: Its version.
        seen: A time that it is at least, Unix seconds.
        fetched: Bytes that came over the network.
        withdrawn: Ids of bundles of this device that were withdrawn.
        back: Ids of bundles that were, and are so no more.
        clock: What is wrong with this device's clock; empty if nothing is known.
        mended: Files of the bundle that runs were damaged here, and are whole again.
    """

    outcome: Outcome
    bundle: str = ""
    name: str = ""
    version: str = ""
    seen: float = 0.0
    fetched: int = 0
    withdrawn: tuple[str, ...] = ()
    back: tuple[str, ...] = ()
    clock: str = ""
    mended: bool = False

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "outcome": self.outcome,
            "bundle": self.bundle or None,
            "name": self.name or None,
            "version": self.version or None,
            "seen": self.seen,
            "fetched": self.fetched,
            "withdrawn": list(self.withdrawn),
            "back": list(self.back),
            "clock": self.clock or None,
            "mended": self.mended,
        }

    @classmethod
    def of(cls, value: JsonValue) -> Found:
        """Read and validate; raises ContractError."""
        f = Fields.of(value, "the answer")
        found = cls(
            outcome=cast("Outcome", f.choice("outcome", get_args(Outcome))),
            bundle=f.text_or_none("bundle") or "",
            name=f.text_or_none("name") or "",
            version=f.text_or_none("version") or "",
            seen=f.number("seen", 0, 1e12),
            fetched=f.integer("fetched", 0, 2**60),
            withdrawn=tuple(map(str, f.items("withdrawn", most=10_000))),
            back=tuple(map(str, f.items("back", most=10_000))),
            clock=f.text_or_none("clock") or "",
            mended=f.flag("mended"),
        )
        f.done()
        return found
