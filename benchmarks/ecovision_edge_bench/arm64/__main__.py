"""`python -m ecovision_edge_bench.arm64`."""

import sys

from ecovision_edge_bench.arm64.cli import main

if __name__ == "__main__":
    sys.exit(main())
