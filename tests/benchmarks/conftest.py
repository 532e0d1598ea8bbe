"""What tests of benchmarks share: results that were never measured."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

import pytest

from ecovision_edge_bench.measure.agreement import Agreement
from ecovision_edge_bench.measure.result import ColdStart, Result, Row
from ecovision_edge_bench.measure.schedule import Samples
from ecovision_edge_bench.measure.settings import Settings

# name, precision, milliseconds of the network on one thread, bytes of the file, MiB of the process
SUBJECTS = (
    ("torch", "fp32", 15.2, 6_190_000, 412),
    ("fp32-onnx", "fp32", 4.9, 6_120_000, 131),
    ("int8-onnx", "int8", 2.6, 1_790_000, 118),
    ("openvino-fp32", "fp32", 4.1, 6_310_000, 188),
    ("openvino-int8", "int8", 2.1, 1_900_000, 176),
    ("litert-fp32", "fp32", 6.4, 6_080_000, 102),
    ("litert-int8", "int8", 3.3, 1_720_000, 95),
    ("ncnn-fp32", "fp32", 5.3, 6_050_000, 99),
    ("mnn-fp32", "fp32", 5.0, 6_070_000, 97),
    ("onnxruntime-int8", "int8", 2.9, 1_810_000, 121),
    ("openvino-bf16", "bf16", 4.4, 6_310_000, 190),
    ("torch-compile", "fp32", 9.8, 6_190_000, 540),
)
PER_TURN = 20  # frames of a subject in one round
IMAGES = 200


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """`make_result(rows=3, samples=200, seed=0, **changes)`: a valid run; changes replace its fields."""
    return _make_result


def _make_result(rows: int = 3, samples: int = 200, seed: int = 0, **changes: object) -> Result:
    """Rows of `SUBJECTS` on one thread, then on two; torch first, as the base. No samples is a failed row."""
    chance = random.Random(seed)
    made = [_row(chance, n, rows, samples) for n in range(rows)]
    state = {
        "governors": ["performance"],
        "frequency_mhz": 1800.0,
        "max_frequency_mhz": 1800.0,
        "frequency_limit_mhz": 1800.0,
        "temperature_c": 51.2,
        "throttling": {"source": "vcgencmd get_throttled", "now": [], "since_boot": [], "events": None},
        "unread": [],
    }
    result = Result(
        created="2026-11-24T12:00:00+00:00",
        versions={"ecovision-edge": "0.1.0", "numpy": "2.0.0", "onnxruntime": "1.22.0"},
        bundle={"name": "garbage-v2", "sha256": "ab" * 32},
        machine={
            "arch": "aarch64",
            "cpu": "Cortex-A72",
            "cpu_features": ["asimd"],
            "board": "Raspberry Pi 4 Model B Rev 1.4",
            "cores": 4,
            "usable_cores": 4,
            "memory_bytes": 4 * 2**30,
            "os": "Debian GNU/Linux 12 (bookworm)",
            "kernel": "6.6.20+rpt-rpi-v8",
            "python": "3.11.2",
        },
        before=state,
        after={**state, "temperature_c": 55.8},
        load={"busy": 0.01, "stolen": 0.0, "seconds": 42.5},
        settings=Settings(seed=seed).to_json(),
        frames={"width": 640, "height": 480, "source": "photographs"},
        parity={"reference": "torch", "why_none": None, "evidence": "photographs", "images": IMAGES},
        rows=made,
        base=made[0].key,
    )
    for name, value in changes.items():
        assert hasattr(result, name), name
        setattr(result, name, value)
    return result


def _row(chance: random.Random, number: int, rows: int, samples: int) -> Row:
    name, precision, network_ms, size, mib = SUBJECTS[number % len(SUBJECTS)]
    threads = 1 + number // len(SUBJECTS)
    network_ms /= threads**0.7
    taken = Samples(measured_s=samples * network_ms / 1e3 + 10.0, warmup_count=12)
    if samples == 0:
        taken = Samples(error="the model cannot be opened")
    for n in range(samples):
        turn, within = divmod(n, PER_TURN)
        slow = 1 + (chance.expovariate(4) if chance.random() < 0.05 else 0.0)  # a tail, as real ones have
        taken.at_s.append(round(0.3 * (turn * rows + number) + 0.01 * within, 6))
        taken.round.append(turn)
        taken.prepare_ms.append(round(1.1 * chance.lognormvariate(0, 0.02), 5))
        taken.infer_ms.append(round(network_ms * slow * chance.lognormvariate(0, 0.03), 5))
        taken.post_ms.append(round(0.04 * chance.lognormvariate(0, 0.05), 5))
    flips = 0 if precision == "fp32" else chance.randint(1, 3)
    return Row(
        key=f"{name} {threads}t",
        name=name,
        precision=precision,
        threads=threads,
        spinning=True,
        engine=f"{name.split('-')[0]} 1.0",
        sha256=hashlib.sha256(name.encode()).hexdigest(),
        bytes=size,
        preprocessing="squash to 224x224, bilinear",
        made="" if name.endswith("onnx") else f"converted by {name.split('-')[0]}, defaults",
        cold=[
            ColdStart(
                import_ms=round(chance.uniform(0.9, 1.1) * mib, 3),
                create_ms=round(chance.uniform(0.9, 1.1) * 40, 3),
                first_ms=round(chance.uniform(2, 3) * network_ms, 3),
                peak_bytes=mib * 2**20,
                before_bytes=71 * 2**20,
            )
            for _ in range(3)
        ],
        samples=taken,
        agreement=Agreement(
            images=IMAGES,
            judged=IMAGES,
            agreed=IMAGES - flips,
            max_dp=round(1e-5 + 0.02 * flips, 6),
            labelled=IMAGES,
            correct=IMAGES - 6 - flips,
            budget=0.998 if precision == "fp32" else 0.98,
        ),
        reasons=[] if samples else ["the model cannot be opened"],
    )
