"""`python -m ecovision_edge`: the same as `ecovision-edge`."""

import sys

from ecovision_edge.cli import main

sys.exit(main())
