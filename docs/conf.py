"""How Sphinx builds these pages: `python -m sphinx -W -b html docs build/docs`.

Sphinx with MyST and Furo, because it has been kept for many years, and its pages and its search open from a
disk, without a network. The pages are plain Markdown; of MyST's own syntax only `toctree` is used, so that
another tool could take them over. (mkdocs-material announced its end for May 2027, and of its successor a
release did not install.)
"""

from __future__ import annotations

import sys
from pathlib import Path

import ecovision_edge

project = "ecovision-edge"
author = "The ecovision-edge authors"
project_copyright = author
version = release = ecovision_edge.__version__

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_tools"]
myst_heading_anchors = 3
nitpicky = True

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False

sys.path.insert(0, str(Path(__file__).parent / "_tools"))
import command_reference  # noqa: E402 - it stands in that folder
import python_reference  # noqa: E402

command_reference.write_reference(Path(__file__).with_name("commands.md"))
python_reference.write_reference(Path(__file__).with_name("api.md"))
