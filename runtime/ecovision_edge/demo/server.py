"""Serves the demo page, in a thread of its own: on this machine, to this machine."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ecovision_edge.base.device import read_machine
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.base.threads import Worker
from ecovision_edge.demo._gradio import check_gradio, load_gradio
from ecovision_edge.demo.pictures import MAX_UPLOAD_BYTES
from ecovision_edge.demo.session import DemoSession
from ecovision_edge.demo.uploads import remove, uploads
from ecovision_edge.errors import MissingDependencyError, OptionError, ServeError
from ecovision_edge.web.address import Address, bind
from ecovision_edge.web.guard import Guard

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["DEFAULT_PORT", "DemoServer", "loopback_address"]

DEFAULT_PORT = 7860
"""Gradio's own."""

_log = logging.getLogger(__name__)
_STOP_S = 5.0

_HEADERS = {
    # Gradio builds its page with inline scripts and styles, and makes functions of text; but nothing may come
    # from, or go to, anywhere else than this page.
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
        "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def loopback_address(host: str, port: int) -> Address:
    """Return where the page is served.

    Raises:
        OptionError: others could reach it there, or there is no such port.
    """
    address = Address(host.strip("[]").lower(), port)
    if not address.loopback:
        raise OptionError(
            "host of the demo page",
            expected="127.0.0.1, ::1 or localhost: it is for this machine alone",
            found=host or "nothing",
            fix=f"to look from another machine: ssh -L {port}:127.0.0.1:{port} THIS_MACHINE",
        )
    if not 0 <= port <= 65535:
        raise OptionError("port of the demo page", expected="0 to 65535; 0 is any free one", found=port)
    return address


class DemoServer:
    """The demo page of one session, once: from `start` to `stop`. Its methods may be called from any thread.

    Args:
        session: Whom it asks; closed with the server.
        host: A loopback address: 127.0.0.1, ::1 or localhost.
        port: 0 to 65535; 0 is any free one.
        top: How many classes the page shows, 1 to 1000.

    Raises:
        OptionError: an option outside its range, or a host that others can reach.
        MissingDependencyError: Gradio is not installed, or too old.
    """

    def __init__(
        self, session: DemoSession, host: str = "127.0.0.1", port: int = DEFAULT_PORT, *, top: int = 5
    ) -> None:
        """Check the options, and that Gradio is there; it is loaded, and the page served, by `start`."""
        self._address = loopback_address(host, port)
        if not 1 <= top <= 1000:
            raise OptionError("classes to show", expected="1 to 1000", found=top)
        check_gradio()
        self._session, self._top = session, top
        self._lock = threading.Lock()
        self._ready, self._stopping = threading.Event(), threading.Event()
        self._worker: Worker | None = None
        self._server: uvicorn.Server | None = None
        self._failure: Exception | None = None
        self._url = ""
        self._folder: Path | None = None

    @property
    def url(self) -> str:
        """What to open in a browser on this machine.

        Raises:
            ServeError: it was not started.
        """
        if not self._url:
            raise ServeError("the demo page is not being served", fix="call start() first")
        return self._url

    def start(self) -> None:
        """Serve the page; returns once it answers. Idempotent.

        Raises:
            ServeError: the port is taken, or the page cannot be served.
            MissingDependencyError: Gradio cannot be imported.
        """
        with self._lock:
            if self._worker is not None:
                return
            listening = bind(self._address)  # a port that is taken is told before Gradio takes its seconds
            port = int(listening.getsockname()[1])
            self._url = f"http://{Address(self._address.host, port)}/"
            self._worker = Worker(lambda: self._run(listening, port), "ecovision-edge demo")
            self._worker.start()
        self._ready.wait()
        if isinstance(self._failure, MissingDependencyError):
            raise self._failure
        if self._failure is not None:
            raise ServeError("cannot serve the demo page", found=reason_of(self._failure)) from self._failure

    def wait(self) -> None:
        """Wait until it is stopped."""
        if self._worker is not None:
            self._worker.join()

    def stop(self) -> None:
        """Drop all connections, delete the uploads, and give the port back. Idempotent."""
        self._stopping.set()
        self._session.close()
        if self._server is not None:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what it cuts off now is no news
            self._server.should_exit = True
        if self._worker is not None and not self._worker.join(_STOP_S):
            _log.warning("the demo page did not stop within %g s", _STOP_S)
            self.abandon()

    def abandon(self) -> None:
        """Delete the uploads now, waiting for nothing: for a process that ends without `stop`."""
        if self._folder is not None:
            remove(self._folder)

    def __enter__(self) -> DemoServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        alive = self._worker is not None and self._worker.alive
        return f"<DemoServer {self._url if alive else 'stopped'}>"

    def _run(self, listening: socket.socket, port: int) -> None:
        try:
            with uploads() as folder:
                self._folder = folder
                load_gradio()  # it makes a folder as it is imported
                asyncio.run(self._serve(listening, Guard(self._address, port), folder))
        except Exception as e:  # noqa: BLE001 - raised typed by the thread that started this one
            self._failure = e
            if self._ready.is_set():
                _log.exception("the demo page ended")
        finally:
            listening.close()
            self._session.close()
            self._ready.set()

    async def _serve(self, listening: socket.socket, guard: Guard, folder: Path) -> None:
        import uvicorn  # Gradio brings it

        config = uvicorn.Config(
            _guarded(self._application(folder), guard, self._ready.set),
            lifespan="on",
            ws="none",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=0,  # a page keeps a connection open for as long as it is looked at
        )
        self._server = server = uvicorn.Server(config)
        server.should_exit = self._stopping.is_set()
        await server.serve([listening])
        if not server.started and not self._stopping.is_set():
            raise ServeError("the page's start-up failed")

    def _application(self, folder: Path) -> FastAPI:
        import gradio
        from fastapi import FastAPI

        from ecovision_edge.demo._page import Page  # it wants Gradio

        machine = read_machine()
        page = Page(self._session, folder, top=self._top, machine=machine.board or machine.cpu.model)
        own = resources.files("ecovision_edge.demo")
        icon = resources.files("ecovision_edge.web").joinpath("static", "icon.svg")
        sans = [gradio.themes.Font(f) for f in ("system-ui", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")]
        app: FastAPI = gradio.mount_gradio_app(
            FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
            page.blocks,
            path="/",
            footer_links=[],
            run_history=False,
            root_path="",
            favicon_path=str(icon),
            max_file_size=MAX_UPLOAD_BYTES,
            ssr_mode=False,
            enable_monitoring=False,
            pwa=False,
            mcp_server=False,
            theme=gradio.themes.Base(font=sans, font_mono=[gradio.themes.Font("monospace")]),
            head=f"<script>{own.joinpath('page.js').read_text('utf-8')}</script>",
            css=own.joinpath("style.css").read_text("utf-8"),
        )
        return app


def _guarded(app: ASGIApp, guard: Guard, ready: Callable[[], None]) -> ASGIApp:
    """Put the page behind a guard: who asks by another name, or from another site's page, is refused."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.encode() for name in _HEADERS}
                kept = [(k, v) for k, v in message.get("headers", ()) if k.lower() not in own]
                message["headers"] = kept + [(k.encode(), v.encode()) for k, v in _HEADERS.items()]
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                ready()

        refusal = _refusal(scope, guard) if scope["type"] == "http" else None
        if refusal is None:
            await app(scope, receive, sent)
            return
        status, why = refusal
        await sent(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]}
        )
        await sent({"type": "http.response.body", "body": f"{why}\n".encode()})

    return guarded


def _refusal(scope: Scope, guard: Guard) -> tuple[int, str] | None:
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    if not guard.host_ok(headers.get("host", [])):
        return 421, guard.wrong_host
    site, mode = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode")
    if site is not None and site[0] in {"cross-site", "same-site"} and mode != ["navigate"]:
        return 403, "another site's page asks for this"
    return None
