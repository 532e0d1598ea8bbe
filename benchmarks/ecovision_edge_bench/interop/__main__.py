"""Run it: `python -m ecovision_edge_bench.interop`."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from ecovision_edge.bundle.folder import Bundle
from ecovision_edge.errors import DatasetError, EcovisionError
from ecovision_edge.photographs.images import find_images, read_image
from ecovision_edge.preprocess import Preprocessor
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_bench.interop import compare, to_markdown

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, and print the table; the exit status: 1 if an engine that answers does so wrongly."""
    parser = argparse.ArgumentParser(
        prog="python -m ecovision_edge_bench.interop",
        description="Whether other engines read the fp32 files right.",
    )
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="with fp32 artifacts")
    parser.add_argument("--images", type=Path, metavar="DIR", help="photographs; default: synthetic frames")
    parser.add_argument("--limit", type=int, default=32, metavar="N", help="how many (default %(default)s)")
    options = parser.parse_args(argv)
    count = max(1, options.limit)
    try:
        bundle = Bundle.open(options.bundle)
        if options.images is None:
            frames = [draw_frame(seed) for seed in range(count)]
        else:
            paths = sorted(find_images(options.images))
            frames = [read_image(p) for p in itertools.islice(paths, 0, None, max(1, len(paths) // count))]
            frames = frames[:count]
        if not frames:
            raise DatasetError("--images", expected="at least one photograph", found="none")
        rows = list(compare(bundle, Preprocessor(bundle.contract).prepare_batch(frames)))
    except EcovisionError as e:
        sys.stderr.write(f"error: {e}\n")
        return e.exit_status
    sys.stdout.write(to_markdown(rows))
    return 0 if all(r.right or r.failed for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
