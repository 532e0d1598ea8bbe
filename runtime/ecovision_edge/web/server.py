"""Serves the live page: an event loop in a thread of its own, started and stopped from any other."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ecovision_edge.base.extras import require
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.base.threads import Worker
from ecovision_edge.errors import OptionError, ServeError
from ecovision_edge.web._connections import Door
from ecovision_edge.web.address import Address, bind
from ecovision_edge.web.board import Board
from ecovision_edge.web.guard import Guard, check_access
from ecovision_edge.web.limits import Limits

if TYPE_CHECKING:
    from aiohttp import web

    from ecovision_edge.web._app import App

__all__ = ["PageServer"]

_log = logging.getLogger(__name__)
_STOP_S = 2.0


class PageServer:
    """The live page of one board.

    On a loopback address everybody on this machine may look. Another address is refused, unless there is a
    token, which a browser shows once (`http://HOST:PORT/?token=...`) and a program in each request
    (`Authorization: Bearer ...`), or unless `insecure` says that the network may look.

    Args:
        board: What it shows.
        address: `HOST:PORT`, an IPv6 address in brackets; port 0 is any free one.
        token: At least 16 characters; it is neither logged nor in any message.
        insecure: Let an address that is not loopback be served without a token.
        max_viewers: Picture streams at once, 1 to 64.
        title: Title of the page, at most 200 characters.
        limits: Its bounds; None is the defaults.

    Raises:
        OptionError: an option outside its range, or an address that needs a token.
        MissingDependencyError: aiohttp or prometheus_client is not installed.
    """

    def __init__(
        self,
        board: Board,
        address: str = "127.0.0.1:8080",
        *,
        token: str | None = None,
        insecure: bool = False,
        max_viewers: int = 8,
        title: str = "ecovision-edge",
        limits: Limits | None = None,
    ) -> None:
        """Check the options; nothing is served before `start`."""
        self._address = Address.parse(address)
        check_access(self._address, token, insecure)
        if not 1 <= max_viewers <= 64:
            raise OptionError("viewers of the page", expected="1 to 64", found=max_viewers)
        if len(title) > 200:
            raise OptionError("title of the page", expected="at most 200 characters", found=len(title))
        for module in ("aiohttp", "prometheus_client"):
            require(module, "web")
        self._board, self._token, self._title = board, token, title
        self._max_viewers, self._limits = max_viewers, limits or Limits()
        self._lock = threading.Lock()
        self._running: _Running | None = None

    @property
    def url(self) -> str:
        """What to open in a browser on this machine, without the token.

        Raises:
            ServeError: it is not being served.
        """
        running = self._running
        if running is None:
            raise ServeError("the page is not being served", fix="call start() first")
        return running.url

    def start(self) -> None:
        """Serve the page; returns once it answers. Idempotent.

        Raises:
            ServeError: the port is taken, or the address does not belong to this machine.
        """
        with self._lock:
            if self._running is None:
                self._running = _Running(self._address, self._token, self._application)
                _log.info("the live page is at %s", self._running.url)

    def stop(self) -> None:
        """Close all connections and give the port back, within two seconds. Idempotent."""
        with self._lock:
            running, self._running = self._running, None
            if running is not None:
                running.stop()

    def close(self) -> None:
        """Do what `stop` does."""
        self.stop()

    def __enter__(self) -> PageServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        running = self._running
        return f"<PageServer {'stopped' if running is None else running.url}>"

    def _application(self, guard: Guard, executor: ThreadPoolExecutor) -> App:
        from ecovision_edge.web._app import App  # aiohttp's import takes a while

        return App(self._board, guard, self._limits, self._max_viewers, self._title, executor)


class _Running:
    """One run of the server: its socket, its thread, its event loop."""

    def __init__(
        self,
        address: Address,
        token: str | None,
        application: Callable[[Guard, ThreadPoolExecutor], App],
    ) -> None:
        self._socket = bind(address)
        port = int(self._socket.getsockname()[1])
        self._guard = Guard(address, port, token)
        host = address.host
        if address.ip is not None and address.ip.is_unspecified:
            host = "::1" if address.ip.version == 6 else "127.0.0.1"
        self.url = f"http://{Address(host, port)}/"
        self._application = application
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._worker = Worker(self._run, "ecovision-edge page")
        self._worker.start()
        self._wait()

    def _wait(self) -> None:
        self._ready.wait()
        if self._failure is not None:
            self._worker.join()
            raise ServeError("cannot serve the page", found=reason_of(self._failure)) from self._failure

    def stop(self) -> None:
        if self._loop is not None and self._ending is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._ending.set)
        if not self._worker.join(_STOP_S):
            _log.warning("the live page did not stop within %g s", _STOP_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as e:  # noqa: BLE001 - raised typed by the thread that started this one
            self._failure = e
            if self._ready.is_set():
                _log.exception("the live page ended")
        finally:
            self._socket.close()
            self._ready.set()

    async def _serve(self) -> None:
        from aiohttp import web

        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        with ThreadPoolExecutor(1, "ecovision-edge page picture") as executor:
            app = self._application(self._guard, executor)
            runner = web.AppRunner(
                app.application(),
                access_log=None,  # it would have the token
                logger=_quiet_log(),
                handler_cancellation=True,  # a stream ends when its client is gone
                keepalive_timeout=30,
                lingering_time=0,
                shutdown_timeout=0.5,
            )
            await runner.setup()
            assert runner.server is not None  # once it is set up
            door = functools.partial(Door, app.connections, runner.server)
            listening: asyncio.Server | None = None
            try:
                listening = await self._loop.create_server(door, sock=self._socket)
                self._ready.set()
                await self._until_the_end(runner, app)
            finally:
                if listening is not None:
                    listening.close()
                app.connections.drop_all(_transports(runner))
                await runner.cleanup()

    async def _until_the_end(self, runner: web.AppRunner, app: App) -> None:
        assert self._loop is not None
        assert self._ending is not None
        while not self._ending.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ending.wait(), app.connections.every_s)
            app.connections.tick(self._loop.time(), _transports(runner))


def _transports(runner: web.AppRunner) -> list[asyncio.Transport]:
    """List the transports of all open connections, those without any request yet too."""
    server = runner.server
    if server is None:
        return []
    return [c.transport for c in server.connections if isinstance(c.transport, asyncio.Transport)]


def _quiet_log() -> logging.Logger:
    """Make a silent log for aiohttp's own remarks, which quote what clients send: the token maybe."""
    log = logging.Logger("ecovision_edge.web.http")  # not one of the program's loggers
    log.disabled = True
    return log
