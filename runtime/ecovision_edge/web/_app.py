"""The routes of the live page, and the guard before them."""

from __future__ import annotations

import asyncio
import html
import json
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from importlib import resources

from ecovision_edge.base.version import __version__
from ecovision_edge.errors import MissingDependencyError
from ecovision_edge.web._connections import Connections, hold_little_back
from ecovision_edge.web._events import Events
from ecovision_edge.web._metrics import Metrics
from ecovision_edge.web._pictures import Picture, Pictures
from ecovision_edge.web._pulse import Pulse
from ecovision_edge.web.board import Board
from ecovision_edge.web.guard import HEADERS, Guard
from ecovision_edge.web.limits import Limits

try:
    from aiohttp import web
    from aiohttp.abc import AbstractStreamWriter
except ImportError as e:
    from ecovision_edge.base.installation import extra_fix

    raise MissingDependencyError("aiohttp is not installed", fix=extra_fix("web")) from e

__all__ = ["App"]

_log = logging.getLogger(__name__)
_STATIC = {
    "app.js": "text/javascript",
    "bars.js": "text/javascript",
    "bin.js": "text/javascript",
    "history.js": "text/javascript",
    "stream.js": "text/javascript",
    "style.css": "text/css",
    "icon.svg": "image/svg+xml",
}
_WITHOUT_TOKEN = {"/static/style.css", "/static/icon.svg"}  # what the page that asks for the token looks like
_COOKIE_S = 30 * 24 * 3600
_BOUNDARY = "ecovision-edge-frame"
_TEXT = "text/plain; version=0.0.4; charset=utf-8"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class App:
    """One page's routes; for its event loop's thread alone.

    Args:
        board: What it shows.
        guard: Whom it answers.
        limits: Its bounds.
        viewers: Picture streams at once; there may be four times as many event streams.
        title: Title of the page.
        executor: The thread that encodes pictures.
    """

    def __init__(
        self, board: Board, guard: Guard, limits: Limits, viewers: int, title: str, executor: Executor
    ) -> None:
        """Read the page's files; nothing is served yet."""
        self._board, self._guard, self._limits, self._title = board, guard, limits, title
        self._most_viewers, self._listeners = viewers, 0
        self._pulse = Pulse(board)
        self._metrics = Metrics(board, limits.stale_s)
        self.pictures = Pictures(board, self._pulse, limits, executor)
        self.connections = Connections(limits)
        folder = resources.files("ecovision_edge.web") / "static"
        self._static = {name: (folder / name).read_bytes() for name in _STATIC}
        self._page, self._ask = (
            (folder / name).read_text(encoding="utf-8").replace("{{title}}", html.escape(title))
            for name in ("index.html", "token.html")
        )

    def application(self) -> web.Application:
        """Return what aiohttp serves."""

        @web.middleware
        async def guarded(request: web.Request, handler: _Handler) -> web.StreamResponse:
            return await self._guarded(request, handler)

        app = web.Application(middlewares=[guarded])
        app.on_response_prepare.append(_add_headers)
        app.router.add_get("/", self._index)
        app.router.add_get("/static/{name}", self._file)
        app.router.add_get("/stream.mjpg", self._stream)
        app.router.add_get("/snapshot.jpg", self._snapshot)
        app.router.add_get("/events", self._events)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/metrics", self._metrics_text)
        return app

    # Before every route.

    async def _guarded(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client is gone")
        with self.connections.answering(transport, asyncio.get_running_loop().time()):
            if (refusal := self._refusal(request)) is not None:
                return refusal
            try:
                return await handler(request)
            except web.HTTPException as e:  # of the router: there is no such path
                return _line(e.status, e.reason.lower())
            except (ConnectionError, asyncio.CancelledError):
                raise
            except Exception:  # noqa: BLE001 - one request must not end the page; it is logged
                # The path alone, for the query may have the token.
                _log.exception("the answer to %r failed", request.path)
                return _line(500, "this is a mistake in the program; its log says more")

    def _refusal(self, request: web.Request) -> web.StreamResponse | None:
        """Return the answer to a request that gets no further; None for one that does."""
        if request.method not in {"GET", "HEAD"}:
            return _line(405, "only GET and HEAD", {"Allow": "GET, HEAD"})
        if not self._guard.host_ok(request.headers.getall("Host", [])):
            return _line(421, self._guard.wrong_host)
        site, mode = request.headers.get("Sec-Fetch-Site"), request.headers.get("Sec-Fetch-Mode")
        if site in {"cross-site", "same-site"} and mode != "navigate":
            return _line(403, "another site's page asks for this")
        if self._guard.open or request.path in _WITHOUT_TOKEN or self._known(request):
            return None
        offered = request.query.get("token") if request.path == "/" else None
        if offered is not None and self._guard.token_ok(offered):
            return self._let_in()
        wrong = offered is not None or "Authorization" in request.headers
        message = "That token is not the right one." if wrong else "This page asks for its token."
        return web.Response(
            status=401,
            text=self._ask.replace("{{message}}", message),
            content_type="text/html",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _known(self, request: web.Request) -> bool:
        if (authorization := request.headers.get("Authorization")) is not None:
            return self._guard.bearer_ok(authorization)
        cookie = request.cookies.get(self._guard.cookie_name)
        return cookie is not None and self._guard.cookie_ok(cookie)

    def _let_in(self) -> web.Response:
        """Exchange the token in the address for a cookie: it stays in no history and no picture's URL."""
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(
            self._guard.cookie_name,
            self._guard.cookie_value,
            max_age=_COOKIE_S,
            httponly=True,
            samesite="Strict",
        )
        return response

    # The routes.

    async def _index(self, request: web.Request) -> web.StreamResponse:
        if "token" in request.query:  # a bookmark of one who has the cookie
            return web.Response(status=303, headers={"Location": "/"})
        return web.Response(text=self._page, content_type="text/html", charset="utf-8")

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in _STATIC:
            return _line(404, "not found")
        return web.Response(body=self._static[name], content_type=_STATIC[name], charset="utf-8")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self.pictures.viewers >= self._most_viewers:
            return _busy(f"{self._most_viewers} others are watching; try again soon")
        response = web.StreamResponse(
            headers={"Content-Type": f"multipart/x-mixed-replace; boundary={_BOUNDARY}"}
        )
        if request.method == "HEAD":
            return response
        with self.pictures.watching():
            writer = await self._open(request, response)
            await response.write(f"--{_BOUNDARY}\r\n".encode())
            number = 0
            while True:
                picture = await self.pictures.after(number)
                number = picture.number
                # A browser shows a part once the boundary after it is there, so that is sent with it.
                await response.write(b"".join([_part_head(picture), picture.jpeg, _AFTER]))
                await writer.drain()
                self._progress(request)

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        status, picture = await self.pictures.now()
        if picture is None:
            reason = status.reason or ("no frame yet" if status.age is None else "no fresh frame")
            return _line(503, f"{status.state}: {reason}", {"Retry-After": "2"})
        headers = {
            "X-Sequence": str(picture.sequence),
            "X-Age-Ms": f"{(time.monotonic() - picture.captured_at) * 1000:.0f}",
        }
        return web.Response(body=picture.jpeg, content_type="image/jpeg", headers=headers)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if self._listeners >= 4 * self._most_viewers:
            return _busy(f"{self._listeners} pages are open; try again soon")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        if request.method == "HEAD":
            return response
        self._listeners += 1
        try:
            writer = await self._open(request, response)
            events = Events(self._board, self._limits, self._title)
            while True:
                if data := events.next(time.monotonic()):
                    await response.write(data)
                    await writer.drain()
                    self._progress(request)
                now = time.monotonic()
                if pause := events.pause(now):
                    await asyncio.sleep(pause)
                else:
                    await self._pulse.newer(events.version, events.wait(now))
        finally:
            self._listeners -= 1

    async def _healthz(self, request: web.Request) -> web.StreamResponse:
        now = time.monotonic()
        view = self._board.view()
        status = view.status(now, self._limits.stale_s)
        bundle = None if view.bundle is None else view.bundle.to_json()
        found = {**status.to_json(now), "version": __version__, "bundle": bundle}
        report = self._board.bin()
        if report is not None:
            found["bin"] = report.to_json(now)
            found["reason"] = status.reason or report.problem
        if (update := self._board.update()) is not None:
            found["update"] = update.to_json()
        ok = status.live and not (report and report.problem)
        text = json.dumps({"ok": ok, **found})
        return web.Response(status=200 if ok else 503, text=f"{text}\n", content_type="application/json")

    async def _metrics_text(self, request: web.Request) -> web.StreamResponse:
        self._metrics.viewers = self.pictures.viewers
        return web.Response(body=self._metrics.text(), headers={"Content-Type": _TEXT})

    async def _open(self, request: web.Request, response: web.StreamResponse) -> AbstractStreamWriter:
        """Begin an answer without an end, to a client that gets the newest and no queue."""
        response.force_close()
        writer = await response.prepare(request)
        if request.transport is None or writer is None:
            raise ConnectionResetError("the client is gone")
        hold_little_back(request.transport)
        return writer

    def _progress(self, request: web.Request) -> None:
        if request.transport is not None:
            self.connections.progress(request.transport, asyncio.get_running_loop().time())


_AFTER = f"\r\n--{_BOUNDARY}\r\n".encode()


def _part_head(picture: Picture) -> bytes:
    age = (time.monotonic() - picture.captured_at) * 1000
    return (
        f"Content-Type: image/jpeg\r\nContent-Length: {len(picture.jpeg)}\r\nX-Live: {picture.live:d}\r\n"
        f"X-Sequence: {picture.sequence}\r\nX-Age-Ms: {age:.0f}\r\n\r\n"
    ).encode()


def _line(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers=headers)


def _busy(text: str) -> web.Response:
    return _line(503, text, {"Retry-After": "5"})


async def _add_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
