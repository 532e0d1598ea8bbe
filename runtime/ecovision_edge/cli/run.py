"""`ecovision-edge run`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ecovision_edge.base.sizes import parse_size
from ecovision_edge.cli.groups import takes_options
from ecovision_edge.cli.output import tell
from ecovision_edge.cli.run_end import check_apart, check_end, summed_up
from ecovision_edge.cli.run_options import KeepOptions, PageOptions, RunOptions
from ecovision_edge.cli.run_updates import check_updates, open_follower
from ecovision_edge.cli.running import Consumers, learns_by_signal, log_to_stderr, stopped_by_signals
from ecovision_edge.cli.screens import Preview, make_screen
from ecovision_edge.decision.settings import DecisionSettings
from ecovision_edge.errors import OptionError, RestartError
from ecovision_edge.loop import CameraLoop, LoopOptions
from ecovision_edge.rules import Rules
from ecovision_edge.smart_bin import SmartBin

if TYPE_CHECKING:
    from ecovision_edge.camera import FrameSource
    from ecovision_edge.classifier import Classifier
    from ecovision_edge.triggers import Trigger
    from ecovision_edge.updates.running import Follower

__all__ = ["run"]


@takes_options(RunOptions)
def run(options: RunOptions) -> int:
    """Classify a camera's newest frame, again and again, until Ctrl-C; demo: needs no camera.

    A camera that stalls, freezes or is unplugged is connected to again, for as long as it takes. At the end
    a summary goes to standard error. Exit status 0 after Ctrl-C, SIGTERM, SIGHUP, a limit or the end of the
    files; 1 when the source was lost for good, gave no frame within --duration, or every event was dropped;
    75 when it has to start again, as --update has brought a bundle that cannot take over while it runs.

    Examples:

      ecovision-edge run --source demo: --duration 30s

      ecovision-edge run --source "/dev/video0?width=1280&height=720&fourcc=MJPG" --http 127.0.0.1:8080

      ecovision-edge run --source picamera2:// --every 200ms --output jsonl

      ecovision-edge run --source photos/ --output jsonl --summary summary.json

      ecovision-edge run --source rpicam:// --bin rules.toml --sink mqtt://broker.local/bin7

      ecovision-edge run --source rpicam:// --bin rules.toml --trigger "gpio:17?pull=up" --settle 500ms
    """
    from ecovision_edge.camera import open_source

    pace = options.pace.loop_options()
    frames = open_source(options.source)
    with contextlib.ExitStack() as stack:
        stack.enter_context(log_to_stderr())
        consumers = Consumers(stack, only_checked=options.check)
        # What may be refused comes first: a model takes its time to load.
        _keep(consumers, options.keep, wait=not frames.live)
        rules = None if options.bin.bin is None else Rules.load(options.bin.bin)
        follower = open_follower(options, rules)
        classifier = _load(options, follower, stack)
        _serve(consumers, classifier, frames.name, 3 * (pace.every or 0), options.page)
        smart_bin = None if rules is None else _bin(consumers, classifier, frames, pace, rules, options)
        machine = _loop(consumers, classifier, frames, pace) if smart_bin is None else smart_bin
        loop = machine.loop if isinstance(machine, SmartBin) else machine
        sinks = () if smart_bin is None else smart_bin.sinks
        check_apart(options.screen.summary, sinks)
        if options.check:
            check_updates(options)
            tell("ecovision-edge: nothing is wrong that could be told without the camera\n")
            return 0
        if options.screen.preview:
            consumers.add(Preview(loop))
        screen, alone = options.screen.output, options.bin.has_stdout
        consumers.add(
            make_screen(screen, loop, frames.name, classifier.labels, smart_bin, events_alone=alone)
        )
        asked = stack.enter_context(stopped_by_signals(loop))
        # They end in reverse order: a live screen is gone before the summary comes.
        with summed_up(loop, options.screen.summary, quiet=screen == "none"), stack, machine:
            if follower is not None:
                consumers.follow(follower, machine, sinks)
            machine.run()
    if follower is not None and follower.restart is not None and not asked():
        raise RestartError(follower.restart)
    check_end(loop.summary(), None if asked() else pace.duration, sinks)
    return 0


def _load(options: RunOptions, follower: Follower | None, stack: contextlib.ExitStack) -> Classifier:
    """Load what classifies: what is current, where updates are followed, who then notes how it ends."""
    if follower is None:
        return options.model.load()
    classifier = follower.load(count=not options.check)
    stack.enter_context(follower)
    return classifier


def _loop(consumers: Consumers, classifier: Classifier, frames: FrameSource, pace: LoopOptions) -> CameraLoop:
    return CameraLoop(
        classifier,
        frames,
        pace,
        on_result=consumers.result,
        on_health=consumers.health,
        on_wait=consumers.wait,
    )


def _bin(
    consumers: Consumers,
    classifier: Classifier,
    frames: FrameSource,
    pace: LoopOptions,
    rules: Rules,
    options: RunOptions,
) -> SmartBin:
    """The bin, with its sinks and its trigger checked; it learns its tray again at SIGUSR1."""
    from ecovision_edge.sinks.addresses import check_sinks, open_sink
    from ecovision_edge.triggers.base import check_trigger

    labels, bins, device = classifier.labels, rules.bins, options.bin.device
    tray = options.bin.tray_file(options.source, frames)
    rules.check(labels)
    sinks = [open_sink(a, labels=labels, bins=bins, device=device) for a in options.bin.sink or ()]
    check_sinks(sinks, labels=labels, bins=bins, device=device)
    trigger = _trigger(options.decision, rules, device)
    if trigger is not None:
        check_trigger(trigger, sinks)
    smart_bin = SmartBin(
        classifier,
        frames,
        rules,
        sinks=() if options.bin.dry_run else sinks,
        options=options.decision.over(rules.decision).options(),
        trigger=trigger,
        loop_options=pace,
        on_event=consumers.event,
        on_result=consumers.result,
        on_health=consumers.health,
        on_wait=consumers.wait,
        device=device,
        tray=tray if trigger is None else None,  # with a trigger no picture of it is wanted
    )
    consumers.show_bin(smart_bin)
    consumers.stack.enter_context(learns_by_signal(smart_bin.learn))
    return smart_bin


def _trigger(settings: DecisionSettings, rules: Rules, device: str) -> Trigger | None:
    """Take that of the command line, or of the rules; what is wrong with it names the one or the other."""
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


def _serve(consumers: Consumers, classifier: Classifier, title: str, stale: float, page: PageOptions) -> None:
    """Serve the live page, if that was asked for; a frame counts as stale after `stale` seconds or more."""
    if page.http is None:
        return
    from ecovision_edge.web import Board, Limits, PageServer

    board = Board(classifier.labels, bundle=classifier.identity)
    server = PageServer(
        board,
        page.http,
        token=page.http_token,
        insecure=page.http_insecure,
        max_viewers=page.http_viewers,
        title=title,
        limits=Limits(stale_s=max(Limits().stale_s, stale)),
    )
    consumers.add_page(board, server)


def _keep(consumers: Consumers, keep: KeepOptions, *, wait: bool) -> None:
    """Record frames, and those of which the model is unsure, as far as that was asked for."""
    if keep.record is None and keep.capture_hard is None:
        return
    from ecovision_edge.recording import HardRecorder, Recorder, RecordOptions

    if keep.record is not None:
        bounds = RecordOptions(
            max_frames=keep.record_frames, max_bytes=parse_size(keep.record_bytes, "--record-bytes")
        )
        if not consumers.only_checked:
            recorder = consumers.stack.enter_context(Recorder(keep.record, bounds))
            consumers.on_result.append(lambda result: recorder.put(result, wait=wait))
    if keep.capture_hard is not None and not consumers.only_checked:
        hard = consumers.stack.enter_context(HardRecorder(keep.capture_hard, below=keep.below))
        consumers.on_result.append(hard.put)
