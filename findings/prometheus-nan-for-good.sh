#!/usr/bin/env bash
# prometheus_client: one NaN makes the sum of a Histogram, a Summary or a Counter NaN until the process restarts, and
# the Histogram does not even count it.
#
# Ground: the confidence of three answers, 0.2, NaN, 0.7, as a model gives that divided by zero once; then 1,000 good
# ones. The same values into a Histogram, a Summary and a Counter.
# Guess before running: refused with a ValueError, as Counter.inc(-1) is; or NaN is counted, in +Inf, and the next
# scrape is good again.
# Seen (prometheus_client 0.26.0):
#   Counter.inc(-1): ValueError; inc(nan): taken, the counter is NaN for good
#   Histogram.observe(nan): taken; count misses it (1002 of 1003, as does the bucket +Inf), sum is NaN for good
#   Summary.observe(nan): taken; count has it (1003), sum is NaN for good
#   the exposition is valid, and prometheus_client's own parser reads it
# So the average of a day, rate(sum) / rate(count), is NaN until somebody restarts the process; an alert on it compares
# with NaN and never fires; and count, which still moves, says that all is well and is one short.
# What to do: count what is not finite in a Counter of its own and do not observe it: if math.isfinite(value).
#
# usage: bash findings/prometheus-nan-for-good.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check prometheus_client==0.26.0
venv/bin/python - <<'PYTHON'
import math
import sys
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Histogram, Summary, generate_latest
from prometheus_client.parser import text_string_to_metric_families

print("prometheus_client", version("prometheus_client"))
registry = CollectorRegistry()
histogram = Histogram("confidence", "Of each answer.", buckets=(0.5, 1), registry=registry)
summary = Summary("score", "Of each answer.", registry=registry)
counter = Counter("seconds", "Spent.", registry=registry)


def scrape():
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {sample.name + sample.labels.get("le", ""): sample.value for family in families
            for sample in family.samples if not sample.name.endswith("_created")}


try:
    counter.inc(-1)
    refused = False
except ValueError as error:
    print("Counter.inc(-1):", error)
    refused = True
for value in (0.2, math.nan, 0.7):
    histogram.observe(value)
    summary.observe(value)
    counter.inc(value)
for _ in range(1000):  # a thousand good ones do not mend it
    histogram.observe(0.9)
    summary.observe(0.9)
    counter.inc(0.9)
found = scrape()
for name, value in found.items():
    print(f"{name} {value}")
so = (refused and found["confidence_count"] == found["confidence_bucket+Inf"] == 1002 and found["score_count"] == 1003
      and all(math.isnan(found[name]) for name in ("confidence_sum", "score_sum", "seconds_total")))
print("still so: one NaN stays" if so else "changed")
sys.exit(not so)
PYTHON
