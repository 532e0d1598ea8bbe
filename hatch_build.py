"""What the wheel holds: everything, or what a device needs (`ECOVISION_EDGE_WHEEL=device`).

`pyproject.toml` excludes from every wheel what no device needs: the fp16 reference weights and the ranges
recorded with them, and the tools that need a checkout. This hook puts them back for the ordinary wheel, from
which `--weights reference` and `--init reference` read. The wheel for devices is less than half of its size;
its version ends in `+device`, so that pip never takes one for the other.
"""

from __future__ import annotations

import os
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "ECOVISION_EDGE_WHEEL"


class WheelContents(BuildHookInterface[Any]):
    """Choose between the two wheels by the environment."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put back what is excluded, unless a wheel for devices is asked for.

        Raises:
            ValueError: the variable names neither wheel.
        """
        asked = os.environ.get(VARIABLE, "full")
        if asked not in {"full", "device"}:
            raise ValueError(f"{VARIABLE}: expected full or device, found {asked!r}")
        if version != "editable" and asked == "full":
            build_data["artifacts"].extend(self.build_config.target_config["exclude"])
