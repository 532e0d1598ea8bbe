"""The result of a run: raw samples, and what one has to know to believe or doubt them; versioned JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ecovision_edge.base.fields import Fields, JsonValue, canonical_json, parse_json
from ecovision_edge.errors import ContractError
from ecovision_edge_bench.measure.agreement import Agreement
from ecovision_edge_bench.measure.percentiles import percentile, percentile_name, supported
from ecovision_edge_bench.measure.ratios import Ratio, paired_ratio, round_medians
from ecovision_edge_bench.measure.schedule import Samples
from ecovision_edge_bench.measure.sources import SOURCES

__all__ = ["SCHEMA", "SCHEMA_VERSION", "STAGES", "ColdStart", "Result", "Row", "Summary"]

SCHEMA = "ecovision-edge/bench"
SCHEMA_VERSION = 1
STAGES = ("prepare", "infer", "post", "total")
_MOST_SAMPLES = 10**7


@dataclass(frozen=True, slots=True)
class ColdStart:
    """A fresh process: milliseconds to import the engine, to open the model, to the first answer; and memory.

    `peak_bytes` is the most that the process held, of which `before_bytes` before the engine was imported;
    None where the kernel does not say.
    """

    import_ms: float
    create_ms: float
    first_ms: float
    peak_bytes: int | None
    before_bytes: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of one stage, milliseconds; `percentiles` only those that the number of samples supports."""

    count: int
    mean: float
    least: float
    percentiles: Mapping[float, float]

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Summarize at least one value."""
        return cls(
            len(values),
            math.fsum(values) / len(values),
            min(values),
            {p: percentile(values, p) for p in supported(len(values))},
        )

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        named: dict[str, JsonValue] = {percentile_name(p): v for p, v in self.percentiles.items()}
        return {"count": self.count, "mean": self.mean, "least": self.least, **named}


@dataclass(slots=True)
class Row:
    """One subject with its setting.

    Args:
        key: Name of the row (`int8-onnx 2t`).
        name: Of the subject.
        precision: What really runs.
        threads: What really runs.
        spinning: Whether the engine's threads may spin.
        engine: Name and version.
        sha256: Of the model.
        bytes: Of the model.
        preprocessing: One line.
        made: How the model was made; empty for a bundle's own.
        cold: Starts in fresh processes.
        samples: What was measured.
        agreement: Against PyTorch, and accuracy; None where it was not measured.
        reasons: Why its figures should not be believed.
        size: Of the network's input, pixels, where it is not the bundle's own.
        sources: Milliseconds of preparing by what a frame comes as (`sources.SOURCES`); nothing if it knows
            no JPEG.
    """

    key: str
    name: str
    precision: str
    threads: int
    spinning: bool
    engine: str
    sha256: str
    bytes: int
    preprocessing: str
    made: str = ""
    cold: list[ColdStart] = field(default_factory=list)
    samples: Samples = field(default_factory=Samples)
    agreement: Agreement | None = None
    reasons: list[str] = field(default_factory=list)
    sources: dict[str, list[float]] = field(default_factory=dict)
    size: int | None = None

    def stage(self, name: str) -> list[float]:
        """Samples of a stage, milliseconds."""
        values: list[float] = getattr(self.samples, f"{name}_ms")
        return values

    def summary(self, stage: str = "total") -> Summary | None:
        """Return figures of a stage; None without samples."""
        values = self.stage(stage)
        return Summary.of(values) if values else None

    def rounds(self) -> dict[int, float]:
        """Median end to end of each round, milliseconds."""
        return round_medians(self.samples.total_ms, self.samples.round)

    @property
    def valid(self) -> bool:
        """Whether nothing speaks against its own figures."""
        return not self.reasons


@dataclass(slots=True)
class Result:
    """One run.

    Args:
        created: When, UTC, ISO 8601.
        versions: Of ecovision-edge and the libraries.
        bundle: Name and sha256 of the manifest of what was measured; and its `sizes`, if it has several.
        machine: `Machine.to_json()`.
        before: `DeviceState.to_json()` at the start.
        after: The same at the end.
        load: Cores kept busy by other programs, cores stolen by other virtual machines; None: not readable.
        settings: `Settings.to_json()`.
        frames: `width`, `height`, `source`.
        parity: `reference` (or why there is none), `evidence`, `images`.
        rows: The subjects.
        base: Key of the row that ratios are against.
        minutes: Of sustained mode: the device's state at the end of each minute.
        reasons: Why the whole run should not be believed.
        notes: What the reader has to know besides.
    """

    created: str
    versions: Mapping[str, str]
    bundle: Mapping[str, JsonValue]
    machine: Mapping[str, JsonValue]
    before: Mapping[str, JsonValue]
    after: Mapping[str, JsonValue]
    load: Mapping[str, JsonValue]
    settings: Mapping[str, JsonValue]
    frames: Mapping[str, JsonValue]
    parity: Mapping[str, JsonValue]
    rows: list[Row]
    base: str
    minutes: list[Mapping[str, JsonValue]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        """Whether nothing speaks against the run or any row."""
        return not self.reasons and all(row.valid for row in self.rows)

    def row(self, key: str) -> Row | None:
        """Return the row of that key."""
        return next((r for r in self.rows if r.key == key), None)

    def ratio(self, row: Row) -> Ratio | None:
        """Give its time end to end over the base's; None for the base, or without samples on both sides."""
        base = self.row(self.base)
        if base is None or base is row or not len(row.samples) or not len(base.samples):
            return None
        a, b = row.rounds(), base.rounds()
        return paired_ratio(a, b, int(_number(self.settings.get("seed")))) if a.keys() & b.keys() else None

    def dumps(self) -> bytes:
        """Return JSON: raw samples, and the figures that follow from them."""
        return canonical_json(
            {
                "schema": SCHEMA,
                "schema_version": SCHEMA_VERSION,
                "created": self.created,
                "valid": self.valid,
                "reasons": [*self.reasons],
                "notes": [*self.notes],
                "versions": dict(self.versions),
                "bundle": dict(self.bundle),
                "machine": dict(self.machine),
                "state": {"before": dict(self.before), "after": dict(self.after), "load": dict(self.load)},
                "settings": dict(self.settings),
                "frames": dict(self.frames),
                "parity": dict(self.parity),
                "base": self.base,
                "minutes": [dict(m) for m in self.minutes],
                "rows": {row.key: _row_json(row, self.ratio(row)) for row in self.rows},
            }
        )

    @classmethod
    def loads(cls, data: bytes, where: str) -> Result:
        """Read what `dumps` wrote; figures that follow from the samples are computed again.

        Raises:
            ContractError, SchemaVersionError: not such a file, or a newer one.
        """
        f = parse_json(data, where)
        if f.text("schema") != SCHEMA:
            raise f.wrong("schema", SCHEMA)
        f.schema_version(SCHEMA_VERSION)
        state = f.sub("state")
        rows = f.sub("rows")
        result = cls(
            created=f.text("created"),
            versions={k: str(v) for k, v in f.free("versions").items()},
            bundle=f.free("bundle"),
            machine=f.free("machine"),
            before=state.free("before"),
            after=state.free("after"),
            load=state.free("load"),
            settings=f.free("settings"),
            frames=f.free("frames"),
            parity=f.free("parity"),
            rows=[_row(rows.sub(key), key) for key in f.free("rows")],
            base=f.text("base"),
            minutes=[m for m in f.items("minutes", most=10**5) if isinstance(m, dict)],
            reasons=_texts(f, "reasons"),
            notes=_texts(f, "notes"),
        )
        f.value("valid")
        state.done()
        f.done()
        return result


def _row_json(row: Row, ratio: Ratio | None) -> dict[str, JsonValue]:
    s = row.samples
    stages: dict[str, JsonValue] = {}
    for stage in STAGES:
        summary = row.summary(stage)
        stages[stage] = None if summary is None else summary.to_json()
    cold: list[JsonValue] = [
        {
            "import_ms": c.import_ms,
            "create_ms": c.create_ms,
            "first_ms": c.first_ms,
            "peak_bytes": c.peak_bytes,
            "before_bytes": c.before_bytes,
        }
        for c in row.cold
    ]
    return {
        "name": row.name,
        "engine": row.engine,
        "precision": row.precision,
        "threads": row.threads,
        "spinning": row.spinning,
        "sha256": row.sha256,
        "bytes": row.bytes,
        "preprocessing": row.preprocessing,
        "made": row.made,
        "size": row.size,
        "valid": row.valid,
        "reasons": [*row.reasons],
        "error": s.error,
        "stages_ms": stages,
        "ratio": None if ratio is None else ratio.to_json(),
        "cold": cold,
        "agreement": None if row.agreement is None else row.agreement.to_json(),
        "prepare_by_source_ms": {
            source: [round(x, 5) for x in times] for source, times in row.sources.items()
        },
        "warmup_count": s.warmup_count,
        "measured_s": s.measured_s,
        "samples": {
            "at_s": [round(x, 6) for x in s.at_s],
            "round": [*s.round],
            **{f"{stage}_ms": [round(x, 5) for x in row.stage(stage)] for stage in STAGES[:3]},
        },
    }


def _row(f: Fields, key: str) -> Row:
    s = f.sub("samples")
    columns = {name: _floats(s, name) for name in ("at_s", "round", *(f"{x}_ms" for x in STAGES[:3]))}
    s.done()
    lengths = {len(c) for c in columns.values()}
    if len(lengths) != 1:
        raise ContractError(f.at("samples"), expected="columns of one length", found=sorted(lengths))
    samples = Samples(
        at_s=columns["at_s"],
        round=[int(x) for x in columns["round"]],
        prepare_ms=columns["prepare_ms"],
        infer_ms=columns["infer_ms"],
        post_ms=columns["post_ms"],
        measured_s=f.number("measured_s", 0, 1e9),
        warmup_count=f.integer("warmup_count", 0, 10**9),
        error=f.text_or_none("error"),
    )
    row = Row(
        key=key,
        name=f.text("name"),
        precision=f.text("precision"),
        threads=f.integer("threads", 0, 10**4),
        spinning=f.flag("spinning"),
        engine=_text(f, "engine"),
        sha256=_text(f, "sha256"),
        bytes=f.integer("bytes", 0, 2**62),
        preprocessing=_text(f, "preprocessing"),
        made=_text(f, "made"),
        cold=[_cold(Fields.of(c, f.at("cold"))) for c in f.items("cold", most=1000)],
        samples=samples,
        agreement=_agreement(f.sub("agreement")) if f.has("agreement") else None,
        reasons=_texts(f, "reasons"),
        sources=_sources(f.sub("prepare_by_source_ms")) if f.has("prepare_by_source_ms") else {},
        size=f.integer("size", 1, 2**16) if f.has("size") else None,
    )
    for derived in ("valid", "stages_ms", "ratio", "agreement"):
        f.value(derived)
    f.done()
    return row


def _sources(f: Fields) -> dict[str, list[float]]:
    found = {source: _floats(f, source) for source in SOURCES if f.has(source)}
    f.done()
    return found


def _agreement(f: Fields) -> Agreement:
    count = {k: f.integer(k, 0, 10**9) for k in ("images", "judged", "agreed", "labelled", "correct")}
    found = Agreement(**count, max_dp=f.number("max_dp", 0, 1), budget=f.number("budget", 0, 1))
    f.done()
    return found


def _cold(f: Fields) -> ColdStart:
    times = [f.number(k, 0, 1e9) for k in ("import_ms", "create_ms", "first_ms")]
    sizes = [f.integer(k, 0, 2**62) if f.has(k) else None for k in ("peak_bytes", "before_bytes")]
    f.done()
    return ColdStart(times[0], times[1], times[2], sizes[0], sizes[1])


def _text(f: Fields, key: str) -> str:
    return f.text_or_none(key, most=2000) if f.value(key) != "" else ""  # type: ignore[return-value]


def _texts(f: Fields, key: str) -> list[str]:
    return [str(x) for x in f.items(key, most=1000)]


def _floats(f: Fields, key: str) -> list[float]:
    values = f.items(key, most=_MOST_SAMPLES)
    numbers = [float(v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) != len(values):
        raise f.wrong(key, "numbers")
    return numbers


def _number(value: JsonValue) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
