"""`ecovision-edge run`."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecovision_edge.base.durations import parse_duration
from ecovision_edge.base.fields import canonical_json
from ecovision_edge.base.files import one_name
from ecovision_edge.base.sizes import parse_size
from ecovision_edge.camera.health import HealthState
from ecovision_edge.cli.options import ArtifactName, BundleOrModel, DelegateLibrary, NoProfile, Threads
from ecovision_edge.cli.output import check_target, is_stdout, tell, write_file
from ecovision_edge.cli.running import Consumers, learns_by_signal, log_to_stderr, stopped_by_signals
from ecovision_edge.cli.screens import SCREENS, Preview, make_screen
from ecovision_edge.decision.settings import SETTINGS, DecisionSettings, SettingValue
from ecovision_edge.errors import CaptureError, OptionError, SinkError
from ecovision_edge.loop import CameraLoop, LoopOptions
from ecovision_edge.rules import Rules
from ecovision_edge.smart_bin import SmartBin

if TYPE_CHECKING:
    from ecovision_edge.camera import FrameSource
    from ecovision_edge.classifier import Classifier
    from ecovision_edge.loop import LoopSummary
    from ecovision_edge.sinks import Sink
    from ecovision_edge.triggers import Trigger

__all__ = ["run"]


def run(
    source: Annotated[
        str,
        typer.Option(
            "--source",
            "-s",
            help="A camera (0, /dev/video0, rpicam://, picamera2://, csi://0, libcamera://), rtsp:// or"
            " http://, a video file, a folder or pattern of images, gst:PIPELINE, or demo:; options after ?.",
        ),
    ] = "0",
    bundle: BundleOrModel = None,
    artifact: ArtifactName = "auto",
    threads: Threads = None,
    delegate: DelegateLibrary = None,
    no_profile: NoProfile = False,
    spinning: Annotated[
        bool,
        typer.Option(
            "--spinning", help="Let the engine's threads spin while they wait: sooner, for much more CPU."
        ),
    ] = False,
    every: Annotated[
        str | None,
        typer.Option(help="Minimum time between two classified frames, as 200ms. Default: none."),
    ] = None,
    max_frames: Annotated[int | None, typer.Option(help="End after this many classified frames.")] = None,
    duration: Annotated[str | None, typer.Option(help="End after this time: 90s, 30m, 2h.")] = None,
    max_age: Annotated[str, typer.Option(help="Pass over a camera's frames older than this.")] = "1s",
    max_reconnects: Annotated[
        int | None, typer.Option(help="Give up after this many failed tries in a row; default: never.")
    ] = None,
    stall_after: Annotated[str, typer.Option(help="Reconnect after this time without a frame.")] = "5s",
    frozen_after: Annotated[
        str, typer.Option(help="Reconnect after this time with one and the same picture; 0 never.")
    ] = "10s",
    output: Annotated[
        str,
        typer.Option(
            help="auto (live on a terminal, else lines; none beside the sink stdout:), live, lines, jsonl, or"
            " none."
        ),
    ] = "auto",
    summary: Annotated[
        Path | None, typer.Option(help="Write the summary as JSON here at the end; - is stdout.")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Show the frames in a window.")] = False,
    http: Annotated[
        str | None, typer.Option(help="Serve a live page at this address: 127.0.0.1:8080. [web]")
    ] = None,
    http_token: Annotated[
        str | None,
        typer.Option(
            envvar="ECOVISION_EDGE_HTTP_TOKEN",
            help="What a viewer has to know; needed beyond this machine. Better in the environment, where"
            " no other user can read it.",
        ),
    ] = None,
    http_insecure: Annotated[
        bool, typer.Option("--http-insecure", help="Serve beyond this machine without a token.")
    ] = False,
    http_viewers: Annotated[int, typer.Option(help="Maximum number of streams at once.")] = 8,
    record: Annotated[
        Path | None, typer.Option(help="Keep frames and results in this folder; --source replays it.")
    ] = None,
    record_frames: Annotated[
        int, typer.Option(help="Maximum number of frames to keep of a recording, the newest.")
    ] = 10_000,
    record_bytes: Annotated[str, typer.Option(help="Maximum size of a recording: 500MB, 2GB.")] = "2GB",
    capture_hard: Annotated[
        Path | None,
        typer.Option(help="Keep frames that the model is unsure of in this folder, to label them."),
    ] = None,
    below: Annotated[float, typer.Option(help="Score below which the model is unsure, 0 to 1.")] = 0.6,
    bin: Annotated[
        Path | None,
        typer.Option("--bin", help="Decide as a bin by these rules, TOML or JSON: one item, one event."),
    ] = None,
    sink: Annotated[
        list[str] | None,
        typer.Option(
            help="Where events go: stdout:, file:PATH, mqtt://HOST/TOPIC, serial:///dev/ttyACM0, gpio:?...,"
            " https://...; again for more."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Run, with the sinks' addresses checked and nothing sent to them."),
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Check what can be checked without the camera, then end."),
    ] = False,
    settle: Annotated[str | None, typer.Option(help=SETTINGS["settle"].help)] = None,
    decide_within: Annotated[str | None, typer.Option(help=SETTINGS["decide_within"].help)] = None,
    error: Annotated[float | None, typer.Option(help=SETTINGS["error"].help)] = None,
    cooldown: Annotated[str | None, typer.Option(help=SETTINGS["cooldown"].help)] = None,
    trigger: Annotated[str | None, typer.Option(help=SETTINGS["trigger"].help)] = None,
    device_id: Annotated[
        str | None, typer.Option(help="What events call this device; default: its host name.")
    ] = None,
    tray: Annotated[
        str | None,
        typer.Option(
            help="A file that keeps the picture of the empty tray from run to run, or none. Default: for a"
            " camera, one in the state folder. SIGUSR1 has the tray learnt again."
        ),
    ] = None,
) -> int:
    """Classify a camera's newest frame, again and again, until Ctrl-C; demo: needs no camera.

    A camera that stalls, freezes or is unplugged is connected to again, for as long as it takes. At the end
    a summary goes to standard error. Exit status 0 after Ctrl-C, SIGTERM, SIGHUP, a limit or the end of the
    files; 1 when the source was lost for good, gave no frame within --duration, or every event was dropped.

    Examples:

      ecovision-edge run --source demo: --duration 30s

      ecovision-edge run --source "/dev/video0?width=1280&height=720&fourcc=MJPG" --http 127.0.0.1:8080

      ecovision-edge run --source picamera2:// --every 200ms --output jsonl

      ecovision-edge run --source photos/ --output jsonl --summary summary.json

      ecovision-edge run --source rpicam:// --bin rules.toml --sink mqtt://broker.local/bin7

      ecovision-edge run --source rpicam:// --bin rules.toml --trigger "gpio:17?pull=up" --settle 500ms
    """
    from ecovision_edge.camera import open_source
    from ecovision_edge.classifier import Classifier

    if output not in SCREENS:
        raise OptionError("--output", expected=", ".join(SCREENS), found=output)
    if not 0 < below <= 1:
        raise OptionError("--below", expected="above 0, up to 1", found=below)
    if bin is None and (sink or dry_run):
        raise OptionError("--sink", expected="--bin RULES beside it: events are a bin's", found="no --bin")
    if bin is None and tray is not None:
        raise OptionError("--tray", expected="--bin RULES beside it: the tray is a bin's", found="no --bin")
    settings = _settings(settle, decide_within, error, cooldown, trigger, bin)
    events_alone = _has_stdout(sink, summary)
    options = _options(every, max_frames, duration, max_age, max_reconnects, stall_after, frozen_after)
    frames = open_source(source)
    with contextlib.ExitStack() as stack:
        stack.enter_context(log_to_stderr())
        consumers = Consumers(stack, only_checked=check)
        # What may be refused comes first: a model takes its time to load.
        if record is not None:
            _record(consumers, record, record_frames, record_bytes, wait=not frames.live)
        if capture_hard is not None:
            _capture_hard(consumers, capture_hard, below)
        rules = None if bin is None else Rules.load(bin)
        classifier = Classifier.load(
            bundle,
            artifact=artifact,
            threads=threads,
            spinning=spinning,
            delegate=delegate,
            profile=not no_profile,
        )
        if http is not None:
            stale = 3 * (options.every or 0)
            _serve(consumers, classifier, frames, stale, http, http_token, http_insecure, http_viewers)
        machine: CameraLoop | SmartBin
        if rules is None:
            loop = machine = CameraLoop(
                classifier,
                frames,
                options,
                on_result=consumers.result,
                on_health=consumers.health,
                on_wait=consumers.wait,
            )
        else:
            device = platform.node() if device_id is None else device_id
            machine = _bin(
                consumers,
                classifier,
                frames,
                options,
                rules,
                settings,
                device,
                sink or [],
                _tray_file(tray, source, frames),
                dry_run=dry_run,
            )
            stack.enter_context(learns_by_signal(machine.learn))
            loop = machine.loop
            _check_apart(summary, machine.sinks)
        if check:
            tell("ecovision-edge: nothing is wrong that could be told without the camera\n")
            return 0
        if preview:
            consumers.add(Preview(loop))
        smart_bin = machine if isinstance(machine, SmartBin) else None
        consumers.add(
            make_screen(output, loop, frames.name, classifier.labels, smart_bin, events_alone=events_alone)
        )
        asked = stack.enter_context(stopped_by_signals(loop))
        # They end in reverse order: a live screen is gone before the summary comes.
        with _summed_up(loop, summary, quiet=output == "none"), stack, machine:
            machine.run()
    _check_end(loop.summary(), None if asked() else options.duration, smart_bin.sinks if smart_bin else ())
    return 0


def _has_stdout(addresses: Sequence[str] | None, summary: Path | None) -> bool:
    """Whether standard output is a sink's, which has it alone; raises OptionError of the summary."""
    has = any(address.lower().startswith("stdout:") for address in addresses or ())
    if has and summary is not None and is_stdout(summary):
        raise OptionError(
            f"--summary {summary}", expected="a file: standard output is the sink's", found="stdout:"
        )
    if summary is not None:
        check_target(summary, "--summary")
    return has


def _check_apart(summary: Path | None, sinks: Sequence[Sink]) -> None:
    """Refuse a summary that would take the place of a sink's events."""
    for sink in sinks:
        if summary is not None and f"file {one_name(summary)}" in sink.claims():
            raise OptionError(
                f"--summary {summary}", expected="a file of its own", found=f"that of {sink.name}"
            )


def _check_end(summary: LoopSummary, duration: float | None, sinks: Sequence[Sink]) -> None:
    """Raise what makes a run that ended in order a failure all the same; `duration` is how long it had."""
    if duration is not None:
        _check_seen(summary, duration)
    _check_delivered(sinks)


def _check_seen(summary: LoopSummary, seconds: float) -> None:
    """Raise CaptureError if nothing was looked at in the time that was given: such a run shows nothing."""
    if summary.classified:
        return
    given = f"{summary.frames} frames, too late or too old" if summary.frames else "no frame"
    raise CaptureError(f"nothing was classified within {seconds:g} s", found=f"{summary.source} gave {given}")


def _check_delivered(sinks: Sequence[Sink]) -> None:
    """Raise SinkError if there were events, and none was delivered or is kept for the next start."""
    stats = {sink.name: sink.stats for sink in sinks}
    taken, dropped = (sum(getattr(s, name) for s in stats.values()) for name in ("taken", "dropped"))
    if not dropped or dropped < taken:
        return
    why = (f"{name} dropped {s.dropped}{_because(name, s.error)}" for name, s in stats.items())
    raise SinkError("every event was dropped", found=", ".join(why))


def _because(name: str, error: str) -> str:
    return f" ({error.removeprefix(f'{name} ')})" if error else ""


def _tray_file(tray: str | None, source: str, frames: FrameSource) -> Path | None:
    """Where the empty tray is kept; of frames that are no camera's only where it is said."""
    if tray is not None:
        return None if tray == "none" else Path(tray)
    if not frames.live or source.startswith("demo:"):
        return None
    from ecovision_edge.decision.tray_file import default_tray_file

    return default_tray_file(frames.name)


def _bin(
    consumers: Consumers,
    classifier: Classifier,
    frames: FrameSource,
    options: LoopOptions,
    rules: Rules,
    settings: DecisionSettings,
    device: str,
    addresses: list[str],
    tray: Path | None,
    *,
    dry_run: bool,
) -> SmartBin:
    from ecovision_edge.sinks.addresses import check_sinks, open_sink
    from ecovision_edge.triggers.base import check_trigger

    rules.check(classifier.labels)
    sinks = [open_sink(a, labels=classifier.labels, bins=rules.bins, device=device) for a in addresses]
    check_sinks(sinks, labels=classifier.labels, bins=rules.bins, device=device)
    trigger = _trigger(settings, rules, device)
    if trigger is not None:
        check_trigger(trigger, sinks)
    smart_bin = SmartBin(
        classifier,
        frames,
        rules,
        sinks=() if dry_run else sinks,
        options=settings.over(rules.decision).options(),
        trigger=trigger,
        loop_options=options,
        on_event=consumers.event,
        on_result=consumers.result,
        on_health=consumers.health,
        on_wait=consumers.wait,
        device=device,
        tray=tray if trigger is None else None,  # with a trigger no picture of it is wanted
    )
    consumers.show_bin(smart_bin)
    return smart_bin


def _settings(
    settle: str | None,
    decide_within: str | None,
    error: float | None,
    cooldown: str | None,
    trigger: str | None,
    bin: Path | None,
) -> DecisionSettings:
    """What the command line says of the decision; raises OptionError."""
    given = {
        **{"settle": settle, "decide_within": decide_within, "error": error},
        **{"cooldown": cooldown, "trigger": trigger},
    }
    values: dict[str, SettingValue] = {}
    for name, text in given.items():
        if text is None:
            continue
        setting = SETTINGS[name]
        value = setting.read(text)
        if value is None:
            raise OptionError(setting.option, expected=setting.expected, found=text)
        if bin is None:
            raise OptionError(
                setting.option, expected="--bin RULES beside it: a bin decides", found="no --bin"
            )
        values[name] = value
    return DecisionSettings.of(values)


def _trigger(settings: DecisionSettings, rules: Rules, device: str) -> Trigger | None:
    """The one of the command line, or of the rules; what is wrong with it names the one or the other."""
    from ecovision_edge.triggers import open_trigger

    address = settings.over(rules.decision).trigger
    if address is None:
        return None
    try:
        return open_trigger(address, device=device)
    except OptionError as e:
        if settings.trigger is not None:
            raise OptionError("--trigger", found=e.message) from e
        raise rules.source.error(("decision", "trigger"), found=e.message) from e


def _serve(
    consumers: Consumers,
    classifier: Classifier,
    frames: FrameSource,
    stale: float,
    address: str,
    token: str | None,
    insecure: bool,
    most: int,
) -> None:
    from ecovision_edge.web import Board, Limits, PageServer

    board = Board(classifier.labels)
    limits = Limits(stale_s=max(Limits().stale_s, stale))
    consumers.add_page(
        board,
        PageServer(
            board,
            address,
            token=token,
            insecure=insecure,
            max_viewers=most,
            title=frames.name,
            limits=limits,
        ),
    )


def _record(consumers: Consumers, folder: Path, frames: int, size: str, *, wait: bool) -> None:
    from ecovision_edge.recording import Recorder, RecordOptions

    options = RecordOptions(max_frames=frames, max_bytes=parse_size(size, "--record-bytes"))
    if consumers.only_checked:
        return
    recorder = consumers.stack.enter_context(Recorder(folder, options))
    consumers.on_result.append(lambda result: recorder.put(result, wait=wait))


def _capture_hard(consumers: Consumers, folder: Path, below: float) -> None:
    from ecovision_edge.recording import HardRecorder

    if consumers.only_checked:
        return
    recorder = consumers.stack.enter_context(HardRecorder(folder, below=below))
    consumers.on_result.append(recorder.put)


@contextlib.contextmanager
def _summed_up(loop: CameraLoop, target: Path | None, *, quiet: bool) -> Iterator[None]:
    """Sum up at the end, whatever it is."""
    try:
        yield
    finally:
        _sum_up(loop.summary(), target, quiet=quiet)


def _sum_up(summary: LoopSummary, target: Path | None, *, quiet: bool) -> None:
    if target is not None:
        write_file([canonical_json(summary.to_json())], target, "--summary")
    if not quiet and (summary.frames or summary.health.state is not HealthState.FAILED):
        tell("".join(f"{line}\n" for line in summary.lines()))


def _options(
    every: str | None,
    max_frames: int | None,
    duration: str | None,
    max_age: str,
    max_reconnects: int | None,
    stall_after: str,
    frozen_after: str,
) -> LoopOptions:
    from ecovision_edge.camera import WatchOptions

    watch = WatchOptions(
        stall_after=_seconds(stall_after, "--stall-after"),
        frozen_after=parse_duration(frozen_after, "--frozen-after") or None,
        max_reconnects=max_reconnects,
    )
    return LoopOptions(
        every=None if every is None else _seconds(every, "--every"),
        max_frames=max_frames,
        duration=None if duration is None else _seconds(duration, "--duration"),
        max_age=_seconds(max_age, "--max-age"),
        watch=watch,
    )


def _seconds(text: str, option: str) -> float:
    seconds = parse_duration(text, option)
    if seconds <= 0:
        raise OptionError(option, expected="above 0", found=text)
    return seconds
