"""The options of `run`, each documented once: meaning, unit, range and default."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecovision_edge.base.durations import parse_duration
from ecovision_edge.base.providers import provider_arguments
from ecovision_edge.camera.watch import WatchOptions
from ecovision_edge.cli.options import (
    ArtifactName,
    BundleOrModel,
    DelegateLibrary,
    NoProfile,
    ProviderOptions,
    Providers,
    Threads,
)
from ecovision_edge.cli.output import check_target, is_stdout
from ecovision_edge.cli.run_updates import FollowOptions
from ecovision_edge.cli.screens import SCREENS
from ecovision_edge.decision.settings import SETTINGS, DecisionSettings
from ecovision_edge.errors import OptionError
from ecovision_edge.loop.options import LoopOptions

if TYPE_CHECKING:
    from ecovision_edge.camera.source import FrameSource
    from ecovision_edge.classifier import Classifier

__all__ = [
    "BinOptions",
    "KeepOptions",
    "ModelOptions",
    "PaceOptions",
    "PageOptions",
    "RunOptions",
    "ScreenOptions",
]


def _written(seconds: float | None) -> str:
    """A default as a user would write it; None is 0, for never."""
    return f"{seconds or 0:g}s"


def _seconds(text: str, option: str) -> float:
    seconds = parse_duration(text, option)
    if seconds <= 0:
        raise OptionError(option, expected="above 0", found=text)
    return seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """What classifies."""

    bundle: BundleOrModel = None
    artifact: ArtifactName = "auto"
    threads: Threads = None
    providers: Providers = None
    provider_option: ProviderOptions = None
    delegate: DelegateLibrary = None
    no_profile: NoProfile = False
    spinning: Annotated[
        bool,
        typer.Option(
            "--spinning", help="Let the engine's threads spin while they wait: sooner, for much more CPU."
        ),
    ] = False

    def load(self, bundle: Path | None = None) -> Classifier:
        """Load it, or in its place `bundle`, a folder; raises as `Classifier.load`."""
        from ecovision_edge.classifier import Classifier

        return Classifier.load(
            bundle or self.bundle,
            artifact=self.artifact,
            threads=self.threads,
            spinning=self.spinning,
            delegate=self.delegate,
            profile=not self.no_profile,
            **provider_arguments(self.providers, self.provider_option),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceOptions:
    """How fast, how long, and how patient with the camera."""

    every: Annotated[
        str | None,
        typer.Option(help="Minimum time between two frames looked at, as 200ms. Default: none."),
    ] = None
    max_frames: Annotated[int | None, typer.Option(help="End after looking at this many frames.")] = None
    duration: Annotated[str | None, typer.Option(help="End after this time: 90s, 30m, 2h.")] = None
    max_age: Annotated[str, typer.Option(help="Pass over a camera's frames older than this.")] = _written(
        LoopOptions().max_age
    )
    max_reconnects: Annotated[
        int | None, typer.Option(help="Give up after this many failed tries in a row; default: never.")
    ] = None
    stall_after: Annotated[str, typer.Option(help="Reconnect after this time without a frame.")] = _written(
        WatchOptions().stall_after
    )
    frozen_after: Annotated[
        str, typer.Option(help="Reconnect after this time with one and the same picture; 0 never.")
    ] = _written(WatchOptions().frozen_after)

    def loop_options(self) -> LoopOptions:
        """Read them; raises OptionError by the name of the option."""
        return LoopOptions(
            every=None if self.every is None else _seconds(self.every, "--every"),
            max_frames=self.max_frames,
            duration=None if self.duration is None else _seconds(self.duration, "--duration"),
            max_age=_seconds(self.max_age, "--max-age"),
            watch=WatchOptions(
                stall_after=_seconds(self.stall_after, "--stall-after"),
                frozen_after=parse_duration(self.frozen_after, "--frozen-after") or None,
                max_reconnects=self.max_reconnects,
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenOptions:
    """What is seen of it on this machine."""

    output: Annotated[
        str,
        typer.Option(
            help="auto (live on a terminal, else lines; none beside the sink stdout:), live, lines, jsonl, or"
            " none."
        ),
    ] = "auto"
    summary: Annotated[
        Path | None, typer.Option(help="Write the summary as JSON here at the end; - is stdout.")
    ] = None
    preview: Annotated[bool, typer.Option("--preview", help="Show the frames in a window.")] = False

    def __post_init__(self) -> None:
        """Refuse another screen; raises OptionError."""
        if self.output not in SCREENS:
            raise OptionError("--output", expected=", ".join(SCREENS), found=self.output)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOptions:
    """The live page."""

    http: Annotated[
        str | None, typer.Option(help="Serve a live page at this address: 127.0.0.1:8080. [web]")
    ] = None
    http_token: Annotated[
        str | None,
        typer.Option(
            envvar="ECOVISION_EDGE_HTTP_TOKEN",
            help="What a viewer has to know; needed beyond this machine. Better in the environment, where"
            " no other user can read it.",
        ),
    ] = field(default=None, repr=False)
    http_insecure: Annotated[
        bool, typer.Option("--http-insecure", help="Serve beyond this machine without a token.")
    ] = False
    http_viewers: Annotated[int, typer.Option(help="Maximum number of streams at once.")] = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepOptions:
    """Which frames are kept."""

    record: Annotated[
        Path | None, typer.Option(help="Keep frames and results in this folder; --source replays it.")
    ] = None
    record_frames: Annotated[
        int, typer.Option(help="Maximum number of frames to keep of a recording, the newest.")
    ] = 10_000
    record_bytes: Annotated[str, typer.Option(help="Maximum size of a recording: 500MB, 2GB.")] = "2GB"
    capture_hard: Annotated[
        Path | None,
        typer.Option(help="Keep frames that the model is unsure of in this folder, to label them."),
    ] = None
    below: Annotated[float, typer.Option(help="Score below which the model is unsure, 0 to 1.")] = 0.6

    def __post_init__(self) -> None:
        """Refuse a score out of range; raises OptionError."""
        if not 0 < self.below <= 1:
            raise OptionError("--below", expected="above 0, up to 1", found=self.below)


@dataclass(frozen=True, slots=True, kw_only=True)
class BinOptions:
    """The bin, and where its events go."""

    bin: Annotated[
        Path | None,
        typer.Option("--bin", help="Decide as a bin by these rules, TOML or JSON: one item, one event."),
    ] = None
    sink: Annotated[
        list[str] | None,
        typer.Option(
            help="Where events go: stdout:, file:PATH, mqtt://HOST/TOPIC, serial:///dev/ttyACM0, gpio:?...,"
            " https://...; again for more."
        ),
    ] = None
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Run, with the sinks' addresses checked and nothing sent to them."),
    ] = False
    device_id: Annotated[
        str | None, typer.Option(help="What events call this device; default: its host name.")
    ] = None
    tray: Annotated[
        str | None,
        typer.Option(
            help="A file that keeps the picture of the empty tray from run to run, or none. Default: for a"
            " camera, one in the state folder. SIGUSR1 has the tray learnt again."
        ),
    ] = None

    def __post_init__(self) -> None:
        """Refuse what only a bin has, without one; raises OptionError."""
        if self.bin is None and (self.sink or self.dry_run):
            raise OptionError(
                "--sink", expected="--bin RULES beside it: events are a bin's", found="no --bin"
            )
        if self.bin is None and self.tray is not None:
            raise OptionError(
                "--tray", expected="--bin RULES beside it: the tray is a bin's", found="no --bin"
            )

    @property
    def device(self) -> str:
        """What events call this device."""
        return platform.node() if self.device_id is None else self.device_id

    @property
    def has_stdout(self) -> bool:
        """Whether standard output is a sink's, which has it alone."""
        return any(address.lower().startswith("stdout:") for address in self.sink or ())

    def tray_file(self, source: str, frames: FrameSource) -> Path | None:
        """Where the empty tray is kept; of frames that are no camera's only where it is said."""
        if self.tray is not None:
            return None if self.tray == "none" else Path(self.tray)
        if not frames.live or source.startswith("demo:"):
            return None
        from ecovision_edge.decision.tray_file import default_tray_file

        return default_tray_file(frames.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """All of them, in the order in which `--help` shows them."""

    source: Annotated[
        str,
        typer.Option(
            "--source",
            "-s",
            help="A camera (0, /dev/video0, rpicam://, picamera2://, csi://0, libcamera://), rtsp:// or"
            " http://, a video file, a folder or pattern of images, gst:PIPELINE, or demo:; options after ?.",
        ),
    ] = "0"
    model: ModelOptions = field(default_factory=ModelOptions)
    pace: PaceOptions = field(default_factory=PaceOptions)
    screen: ScreenOptions = field(default_factory=ScreenOptions)
    page: PageOptions = field(default_factory=PageOptions)
    keep: KeepOptions = field(default_factory=KeepOptions)
    bin: BinOptions = field(default_factory=BinOptions)
    decision: DecisionSettings = field(default_factory=DecisionSettings)
    updates: FollowOptions = field(default_factory=FollowOptions)
    check: Annotated[
        bool,
        typer.Option("--check", help="Check what can be checked without the camera, then end."),
    ] = False

    def __post_init__(self) -> None:
        """Refuse what does not go together; raises OptionError."""
        if self.bin.bin is None:
            for name in self.decision.given():
                raise OptionError(
                    SETTINGS[name].option, expected="--bin RULES beside it: a bin decides", found="no --bin"
                )
        summary = self.screen.summary
        if self.bin.has_stdout and summary is not None and is_stdout(summary):
            raise OptionError(
                f"--summary {summary}", expected="a file: standard output is the sink's", found="stdout:"
            )
        if summary is not None:
            check_target(summary, "--summary")
