"""The board's counters for Prometheus: read when they are asked for, so that publishing pays nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from ecovision_edge.base.version import __version__
from ecovision_edge.camera.health import HealthState
from ecovision_edge.errors import MissingDependencyError
from ecovision_edge.events import BinState
from ecovision_edge.web.board import Board, Distribution

try:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        InfoMetricFamily,
        StateSetMetricFamily,
    )
    from prometheus_client.registry import Collector
except ImportError as e:
    from ecovision_edge.base.installation import extra_fix

    raise MissingDependencyError("prometheus_client is not installed", fix=extra_fix("web")) from e

if TYPE_CHECKING:
    from prometheus_client import Metric

    from ecovision_edge.sinks.bin_report import BinReport

__all__ = ["Metrics"]


class Metrics(Collector):
    """Everything of one board, in a registry of its own."""

    def __init__(self, board: Board, stale_s: float) -> None:
        """A frame is news for `stale_s` seconds."""
        self._board, self._stale_s = board, stale_s
        self.viewers = 0
        """Open streams; whoever knows sets it before `text`."""
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """Write Prometheus's text format, version 0.0.4."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Return nothing: the registry need not collect to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, as they are now."""
        counters, now = self._board.counters(), time.monotonic()
        view = self._board.view()
        status = view.status(now, self._stale_s)
        frames = CounterMetricFamily(
            "ecovision_frames_classified",
            "Frames that the network answered, by its answer.",
            labels=["label"],
        )
        for label, count in counters.classified.items():
            frames.add_metric([label], count)
        yield frames
        without = CounterMetricFamily(
            "ecovision_frames_unclassified",
            "Frames that the network was not asked about, by what the gate saw: empty, for one.",
            labels=["tray"],
        )
        for tray, count in counters.unclassified.items():
            without.add_metric([tray], count)
        yield without
        yield CounterMetricFamily(
            "ecovision_frames_dropped", "Frames of the source that nobody looked at.", value=counters.dropped
        )
        yield CounterMetricFamily(
            "ecovision_frames_bad",
            "Frames of the source that were empty, cut off, or not to be decoded.",
            value=counters.bad_frames,
        )
        yield CounterMetricFamily(
            "ecovision_reconnects", "Times the source was reconnected.", value=counters.reconnects
        )
        stages = HistogramMetricFamily(
            "ecovision_stage_seconds", "Time a frame took, by stage.", labels=["stage"]
        )
        for stage, distribution in counters.stages.items():
            stages.add_metric([stage], _buckets(distribution), distribution.total)
        yield stages
        yield HistogramMetricFamily(
            "ecovision_capture_to_result_seconds",
            "From the capture of a frame to its result.",
            buckets=_buckets(counters.age),
            sum_value=counters.age.total,
        )
        if status.age is not None:
            yield GaugeMetricFamily(
                "ecovision_frame_age_seconds", "Since the capture of the newest frame.", value=status.age
            )
        yield GaugeMetricFamily(
            "ecovision_live", "1 while frames come and are fresh, else 0.", value=float(status.live)
        )
        yield StateSetMetricFamily(
            "ecovision_health", "State of the source.", {s.value: s is status.state for s in HealthState}
        )
        yield GaugeMetricFamily("ecovision_viewers", "Open picture streams.", value=self.viewers)
        yield InfoMetricFamily("ecovision_build", "What runs here.", {"version": __version__})
        if (bundle := view.bundle) is not None:
            which = {"name": bundle.name, "version": bundle.version, "id": bundle.id}
            yield InfoMetricFamily("ecovision_bundle", "Which bundle answers.", which)
        report = self._board.bin()
        if report is not None:
            yield from _of_bin(report)


def _of_bin(report: BinReport) -> Iterator[Metric]:
    for name, text, value in (
        ("ecovision_bin_events", "Events: items that were decided, as unknown too.", report.events),
        ("ecovision_bin_unknowns", "Of the events, those without a label.", report.unknowns),
        ("ecovision_bin_faults", "Times that the bin went into a fault.", report.faults),
    ):
        yield CounterMetricFamily(name, text, value=value)
    yield StateSetMetricFamily(
        "ecovision_bin_state", "What the bin is doing.", {s.value: s is report.state for s in BinState}
    )
    delivered, dropped, retries = (
        CounterMetricFamily(name, text, labels=["sink"])
        for name, text in (
            ("ecovision_sink_delivered", "Events that a sink delivered."),
            ("ecovision_sink_dropped", "Events that a sink lost."),
            ("ecovision_sink_retries", "Tries of a sink that failed."),
        )
    )
    queued = GaugeMetricFamily("ecovision_sink_queued", "Events that wait in a sink.", labels=["sink"])
    failing = GaugeMetricFamily("ecovision_sink_failing", "1 while a sink fails, else 0.", labels=["sink"])
    for sink in report.sinks:
        delivered.add_metric([sink.name], sink.stats.delivered)
        dropped.add_metric([sink.name], sink.stats.dropped)
        retries.add_metric([sink.name], sink.stats.retries)
        queued.add_metric([sink.name], sink.stats.waiting)
        failing.add_metric([sink.name], float(bool(sink.problem)))
    yield from (queued, delivered, dropped, retries, failing)


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    """Return the cumulative counts by upper bound, as the format wants them."""
    bounds = [*(repr(float(b)) for b in distribution.bounds), "+Inf"]
    return [(bound, float(n)) for bound, n in zip(bounds, accumulate(distribution.counts), strict=True)]
