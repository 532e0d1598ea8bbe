"""`ecovision-edge demo`."""

from __future__ import annotations

import os
import sys
import threading
from typing import Annotated

import typer

from ecovision_edge.base.providers import provider_arguments
from ecovision_edge.cli.options import (
    ArtifactName,
    BundleOrModel,
    NoProfile,
    ProviderOptions,
    Providers,
    Threads,
)
from ecovision_edge.cli.running import log_to_stderr, stopped_by_signals
from ecovision_edge.errors import OptionError

__all__ = ["demo"]


def demo(
    bundle: BundleOrModel = None,
    artifact: ArtifactName = "auto",
    threads: Threads = None,
    providers: Providers = None,
    provider_option: ProviderOptions = None,
    no_profile: NoProfile = False,
    top: Annotated[int, typer.Option(help="How many classes to show.")] = 5,
    host: Annotated[str, typer.Option(help="A loopback address: 127.0.0.1, ::1 or localhost.")] = "127.0.0.1",
    port: Annotated[str, typer.Option(help="Port, 0 to 65535; 0 or auto: any free port.")] = "7860",
    open_browser: Annotated[
        bool | None,
        typer.Option("--open/--no-open", help="Open it in a browser; default: where there is a desktop."),
    ] = None,
) -> int:
    """Try a bundle in a browser: upload, webcam or example, and where the network looked.

    The page is for this machine alone: it is served on a loopback address, asks no other machine for
    anything, and keeps no picture longer than it runs. Ctrl-C or SIGTERM ends it, exit status 0.

    Examples:

      ecovision-edge demo

      ecovision-edge demo --bundle build/mine --artifact fp32 --port auto

      ssh -L 7860:127.0.0.1:7860 pi.local ecovision-edge demo --no-open
    """
    from ecovision_edge.demo import DemoServer, DemoSession
    from ecovision_edge.demo.server import loopback_address

    number = _port(port)
    loopback_address(host, number)  # what may be refused comes first: model and Gradio take their time
    if not 1 <= top <= 1000:
        raise OptionError("--top", expected="1 to 1000", found=top)
    with log_to_stderr():
        session = DemoSession.load(
            bundle,
            artifact=artifact,
            threads=threads,
            profile=not no_profile,
            **provider_arguments(providers, provider_option),
        )
        server = DemoServer(session, host, number, top=top)
        with stopped_by_signals(server, server.abandon), server:
            sys.stderr.write(f"ecovision-edge: the demo page is at {server.url} (Ctrl-C ends it)\n")
            sys.stderr.flush()
            if _has_desktop() if open_browser is None else open_browser:
                _open(server.url)
            server.wait()
    return 0


def _port(text: str) -> int:
    if text == "auto":
        return 0
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise OptionError("--port", expected="0 to 65535, or auto", found=text)
    return int(text)


def _has_desktop() -> bool:
    """Check whether a browser gets a window; over ssh one that runs in the terminal would take it over."""
    if not sys.stderr.isatty() or "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform in {"darwin", "win32"} or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))


def _open(url: str) -> None:
    """Open a browser in a thread: some return only when they are closed."""
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(url,), name="ecovision-browser", daemon=True).start()
