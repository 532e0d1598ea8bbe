"""Workers as seen by the parent; one that dies is an error of its row alone."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from ecovision_edge.errors import EcovisionError
from ecovision_edge_bench.measure.frames import FrameSource
from ecovision_edge_bench.subjects import Spec

__all__ = ["Worker", "WorkerError"]

START_LIMIT_S = 300.0  # torch.compile takes a minute on two cores
ANSWER_LIMIT_S = 120.0  # beyond what was asked for


class WorkerError(EcovisionError, RuntimeError):
    """A subject's process failed, died, or did not answer."""


class Worker:
    """A subject in a process of its own; a context manager.

    `ready` has what its start took, `cpu_s` the seconds of CPU that the process had taken by its last answer.
    A start that takes more than `start_limit_s`, and an answer that takes `answer_limit_s` more than was
    asked for, are given up, and the process is ended.

    Raises:
        WorkerError: the subject cannot be loaded, or its process died.
    """

    def __init__(
        self,
        spec: Spec,
        source: FrameSource,
        cores: Sequence[int] = (),
        *,
        start_limit_s: float = START_LIMIT_S,
        answer_limit_s: float = ANSWER_LIMIT_S,
    ) -> None:
        self.spec = spec
        self.answer_limit_s = answer_limit_s
        self.cpu_s = 0.0
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ecovision_edge_bench.measure.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the parent, which keeps what was measured
        )
        try:
            request = {"spec": spec.to_json(), "source": source.to_json(), "cores": [*cores]}
            self.ready: dict[str, Any] = self._ask(request, start_limit_s)["ready"]
        except BaseException:
            self.close()
            raise

    def turn(
        self, *, settle_s: float, seconds: float, fps: float | None, first: int
    ) -> dict[str, list[float]]:
        """Return the samples of one turn: see `worker.run_turn`.

        Raises:
            WorkerError: it failed.
        """
        turn = {"settle_s": settle_s, "seconds": seconds, "fps": fps, "first": first}
        answer = self._ask({"turn": turn}, settle_s + seconds + self.answer_limit_s)
        samples: dict[str, list[float]] = answer["samples"]
        return samples

    def classify(self, *, files: Sequence[str] = (), seeds: Sequence[int] = ()) -> list[list[float]]:
        """Probabilities of each image file, or of each synthetic frame.

        Raises:
            WorkerError: it failed.
        """
        request = {"classify": {"files": [*files], "seeds": [*seeds]}}
        probabilities: list[list[float]] = self._ask(request, self.answer_limit_s)["probabilities"]
        return probabilities

    def prepare_by_source(self) -> dict[str, list[float]]:
        """Milliseconds of preparing by what a frame comes as: see `sources.measure_sources`.

        Raises:
            WorkerError: it failed.
        """
        sources: dict[str, list[float]] = self._ask({"sources": {}}, self.answer_limit_s)["sources"]
        return sources

    def check_golden(self) -> tuple[bool, str]:
        """Tell whether an artifact answers its golden inputs as `verify` asks for; and what was found.

        Raises:
            WorkerError: it failed.
        """
        check = self._ask({"golden": {}}, self.answer_limit_s)["check"]
        return bool(check["ok"]), str(check["detail"])

    def close(self) -> None:
        """End the process; more than once does no harm."""
        process = self._process
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._errors.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Worker {self.spec.key}, process {self._process.pid}>"

    def _ask(self, request: dict[str, Any], limit_s: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._read_line(limit_s)
        except OSError as e:
            raise self._died() from e
        answer: dict[str, Any] = json.loads(line)
        self.cpu_s = float(answer.pop("cpu_s"))
        if "error" in answer:
            raise WorkerError(self.spec.key, found=answer["error"])
        return answer

    def _read_line(self, limit_s: float) -> bytes:
        stream = self._process.stdout
        assert stream is not None
        deadline = time.monotonic() + limit_s
        parts: list[bytes] = []
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while not (parts and parts[-1].endswith(b"\n")):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self._process.kill()
                    raise WorkerError(
                        self.spec.key, expected=f"an answer within {limit_s:g} s", found="none; it was ended"
                    )
                part = os.read(stream.fileno(), 1 << 16)
                if not part:
                    raise self._died()
                parts.append(part)
        return b"".join(parts)

    def _died(self) -> WorkerError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        status = self._process.poll()
        how = f"killed by signal {-status}" if status is not None and status < 0 else f"exit status {status}"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return WorkerError(
            f"{self.spec.key}: its process died", found=f"{how}; it said: {(lines or ['nothing'])[-1][:200]}"
        )
