"""The resize filter `pil` of ecovision-edge as a shared library.

Where this is installed, ecovision-edge uses it, once it has seen that its pixels are right
(`ecovision_edge/preprocess/native.py`); there is nothing to call here.
"""

from pathlib import Path

__all__ = ["LIBRARY"]

LIBRARY = Path(__file__).with_name("resize.so")
