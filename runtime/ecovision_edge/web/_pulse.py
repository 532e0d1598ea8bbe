"""Tells the event loop that something new is on the board, without the publisher having to."""

from __future__ import annotations

import asyncio

from ecovision_edge.web.board import Board

__all__ = ["Pulse"]

_POLL_S = 0.01


class Pulse:
    """Looks at the board's version a hundred times a second, while somebody waits for it and only then.

    Waking the event loop from the publisher would cost it a system call a frame; this costs it nothing.
    For the event loop's thread alone.
    """

    def __init__(self, board: Board) -> None:
        """Nobody waits yet."""
        self._board = board
        self._waiting: set[tuple[int, asyncio.Future[None]]] = set()
        self._task: asyncio.Task[None] | None = None

    async def newer(self, version: int, timeout: float) -> None:
        """Return once the board's version is not `version`, or after `timeout` seconds."""
        if self._board.version != version:
            return
        loop = asyncio.get_running_loop()
        entry = version, loop.create_future()
        self._waiting.add(entry)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._watch())
        try:
            await asyncio.wait({entry[1]}, timeout=timeout)
        finally:
            self._waiting.discard(entry)
            entry[1].cancel()

    async def _watch(self) -> None:
        while self._waiting:
            version = self._board.version
            for known, future in self._waiting:
                if known != version and not future.done():
                    future.set_result(None)
            await asyncio.sleep(_POLL_S)
