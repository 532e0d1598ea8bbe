#!/usr/bin/env bash
# prometheus-client: one NaN makes the sum of a histogram NaN for as long as the process lives, and its count leaves the
# NaN out.
#
# Ground: a service observes durations, and one of them is NaN, for instance 0 / 0 of an empty batch.
# Guess before running: observe(nan) raises, or is ignored; or it counts, in the bucket +Inf.
# Seen (prometheus-client 0.26.0): 0.5, NaN, 1.5
#   Histogram: _count 2, the buckets hold the two numbers, _sum NaN, and NaN after each later observation too
#   Summary: _count 3, _sum NaN
#   Counter.inc(nan): no error, and the counter is NaN from then on; inc(-1) is refused
# So rate(x_sum) / rate(x_count), the mean on most dashboards, is empty until the process is started again, while counts
# and quantiles look healthy.
# What to do: drop what is not finite before it is observed, and count it in a counter of its own.
#
# usage: bash findings/prometheus-one-nan-for-ever.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check prometheus-client==0.26.0
venv/bin/python - <<'PYTHON'
import math
import sys
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Histogram, Summary

print("prometheus-client", version("prometheus-client"))
NAN = float("nan")
registry = CollectorRegistry()
histogram = Histogram("h", "durations", buckets=(1, 2), registry=registry)
summary = Summary("s", "durations", registry=registry)
counter = Counter("c", "seconds", registry=registry)
for value in (0.5, NAN, 1.5):
    histogram.observe(value)
    summary.observe(value)
    counter.inc(value)
try:
    counter.inc(-1)
    refused = False
except ValueError as error:
    print("Counter.inc(-1):", error)
    refused = True
read = registry.get_sample_value
found = {name: read(name) for name in ("h_count", "h_sum", "s_count", "s_sum", "c_total")}
found["h_bucket +Inf"] = read("h_bucket", {"le": "+Inf"})
print(found)
histogram.observe(1)
print("after one more: h_count", read("h_count"), "h_sum", read("h_sum"))
so = (
    refused
    and (found["h_count"], found["h_bucket +Inf"], found["s_count"]) == (2, 2, 3)
    and all(map(math.isnan, (found["h_sum"], found["s_sum"], found["c_total"], read("h_sum"))))
)
print("still so: one NaN stays in the sum" if so else "changed")
sys.exit(not so)
PYTHON
