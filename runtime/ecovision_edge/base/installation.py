"""How this very installation gets what it lacks: pip lines that work as they stand.

Not `pip install 'ecovision-edge[web]'`: the first pip of the path may be another Python's, and the name is
not on the index. The line names the interpreter, and where this installation came from: pip wrote that down
beside it (`direct_url.json`, PEP 610).
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import MissingDependencyError

__all__ = ["Installation", "extra_fix", "has_pip", "missing_library", "pip_fix", "upgrade_fix"]

NAME = "ecovision-edge"

_EXTRA = re.compile(r"""(?:^|\band\s+)extra\s*==\s*['"]([\w.-]+)['"]\s*$""")
_NAME_OF_REQUIREMENT = re.compile(r"[\w.-]+")
_DISTRIBUTIONS = {"numpy": "numpy", "cv2": "opencv-python-headless"}
"""What to install for a module, where its name is another or there is no metadata to ask."""
_ROOT = Path(__file__).resolve().parents[3]
"""Of the sources, where this module runs from a copy of them."""


class _Tool(NamedTuple):
    """What made the environment of a command: `uv tool`, or pipx.

    Args:
        install: Command that installs what follows in its place.
        extras: Those that it was given.
        inject: Command that adds libraries for good; empty if there is none.
    """

    install: tuple[str, ...]
    extras: frozenset[str]
    inject: tuple[str, ...] = ()


class Installation:
    """An installed ecovision-edge, as its metadata describes it.

    Args:
        distribution: Its metadata; None where there is none.
        python: The interpreter that it runs in.
        root: The folder that would hold `pyproject.toml`, if it runs from a copy of the sources.
    """

    def __init__(
        self, distribution: metadata.Distribution | None, python: str = sys.executable, root: Path = _ROOT
    ) -> None:
        self._distribution, self._python, self._root = distribution, python, root

    @classmethod
    def here(cls) -> Installation:
        """Return the one that this process runs."""
        try:
            return cls(metadata.distribution(NAME))
        except metadata.PackageNotFoundError:
            return cls(None)

    def pip_line(self, *arguments: str, command: str = "install") -> str:
        """Return a shell's command of pip, `install` or `uninstall`, for this interpreter."""
        if not has_pip() and (self._made_by_uv() or shutil.which("uv")):
            return shlex.join(["uv", "pip", command, "--python", self._python, *arguments])
        return shlex.join([self._python, "-m", "pip", command, *arguments])

    def extra_line(self, extra: str) -> str:
        """Return a shell's command that installs what `extra` brings.

        From where this installation came, if that is still there. Otherwise, and where the libraries that
        everything needs were not installed by their names (a device's own OpenCV, with `--no-deps`), the
        libraries of the extra alone, so that no second OpenCV comes along.
        """
        origin = self._origin(f"[{extra}]")
        libraries = self.requirements(extra)
        tool = self._tool()
        if libraries and (origin is None or not self._has_all_dependencies()):
            if tool is not None and tool.inject:
                return shlex.join([*tool.inject, *libraries])
            return self.pip_line(*libraries)
        if origin is not None and tool is not None:
            return self._install_tool(tool, extra)
        return self.pip_line(*(origin or (f".[{extra}]",)))

    def requirement_of(self, module: str) -> str | None:
        """Return what brings a module that everything needs, `numpy>=1.23.5`; None for any other module."""
        if self._distribution is None:
            return _DISTRIBUTIONS.get(module)
        distribution = _DISTRIBUTIONS.get(module, module)
        return next((line for line in self._base_requirements() if _name_of(line) == distribution), None)

    def requirements(self, extra: str | None = None) -> tuple[str, ...]:
        """Return what an extra asks for, or everything does (None), each with its marker behind a `;`."""
        return tuple(requirement for requirement, of in self._requirements() if of == extra)

    def origin(self) -> tuple[str, ...]:
        """Return the arguments by which pip builds or finds this very thing once more; empty if not known."""
        return self._origin("") or ()

    def upgrade_words(self) -> str:
        """Return how to get a newer one in its place."""
        origin = self._origin("", newest=True)
        if origin is None:
            return f"in a newer copy of its source: {self.pip_line('--upgrade', '.')}"
        tool = self._tool()
        line = self.pip_line("--upgrade", *origin) if tool is None else self._install_tool(tool)
        return f"renew {origin[-1]}, then: {line}"

    def _install_tool(self, tool: _Tool, *extras: str) -> str:
        """Return the command that installs it once more, with the extras that it has and these."""
        names = ",".join(sorted({*tool.extras, *extras}))
        origin = self._origin(f"[{names}]" if names else "", newest=not extras)
        return shlex.join([*tool.install, *(origin or ())])

    def _tool(self) -> _Tool | None:
        """Return how `uv tool` or pipx installs it; None if neither of them has made this environment.

        What pip adds to such an environment is not in its record, and gone after the next upgrade or
        reinstallation; so is an extra that is not named together with the others.
        """
        try:
            folder = Path(self._python).parents[1]
        except IndexError:  # no interpreter is known
            return None
        if (receipt := _read(folder / "uv-receipt.toml")) is not None:
            written = re.search(r"""\{ name = "ecovision-edge",[^}]*?\bextras = \[([^\]]*)\]""", receipt)
            extras = re.findall(r'"([\w.-]+)"', written[1]) if written else []
            base = str(Path(self._python).resolve())  # the tool's own is removed before it is made again
            return _Tool(("uv", "tool", "install", "--force", "--python", base), frozenset(extras))
        if (record := _read(folder / "pipx_metadata.json")) is None:
            return None
        package = _object(record).get("main_package")
        spec = str(package.get("package_or_url")) if isinstance(package, dict) else ""
        named = re.search(r"\[([\w.,\s-]*)\]", spec)
        had = frozenset(filter(None, re.split(r"[\s,]+", named[1]))) if named else frozenset[str]()
        suffix = folder.name.removeprefix(NAME)
        install = ("pipx", "install", "--force", *((f"--suffix={suffix}",) if suffix else ()))
        return _Tool(install, had, ("pipx", "inject", folder.name))

    def _made_by_uv(self) -> bool:
        return self._distribution is not None and _text(self._distribution, "INSTALLER").strip() == "uv"

    def _origin(self, extra: str, *, newest: bool = False) -> tuple[str, ...] | None:
        """Return what to give pip so that it installs the same once more; None if that cannot be said.

        Args:
            extra: Behind the name, in brackets.
            newest: Take what the branch of a repository has now.
        """
        written = {} if self._distribution is None else _object(_text(self._distribution, "direct_url.json"))
        url = written.get("url")
        if not isinstance(url, str) or not url:
            return (
                ("--editable", f"{self._root}{extra}") if (self._root / "pyproject.toml").is_file() else None
            )
        vcs, folder = written.get("vcs_info"), written.get("dir_info")
        below = written.get("subdirectory")
        if isinstance(vcs, dict):
            revision = vcs.get("requested_revision" if newest else "commit_id")
            at = f"@{revision}" if isinstance(revision, str) else ""
            part = f"#subdirectory={below}" if isinstance(below, str) else ""
            return (f"{NAME}{extra} @ {vcs.get('vcs')}+{url}{at}{part}",)
        parts = urlsplit(url)
        if parts.scheme != "file":
            return (f"{NAME}{extra} @ {url}",)
        path = Path(unquote(parts.path), below if isinstance(below, str) else "")
        if isinstance(folder, dict):
            if not (path / "pyproject.toml").is_file():
                return None
            return ("--editable", f"{path}{extra}") if folder.get("editable") is True else (f"{path}{extra}",)
        return (f"{path}{extra}",) if path.is_file() else None

    def _requirements(self) -> Iterator[tuple[str, str | None]]:
        """Yield each requirement without the mark of its extra, and that extra."""
        for line in (self._distribution.requires if self._distribution is not None else None) or ():
            requirement, _, marker = line.partition(";")
            marker = marker.strip()
            match = _EXTRA.search(marker)
            rest = marker[: match.start()].strip() if match else marker
            yield f"{requirement.strip()}{f'; {rest}' if rest else ''}", match[1] if match else None

    def _has_all_dependencies(self) -> bool:
        """Return whether what everything needs was installed under the names that pip would look for."""
        return all(_is_installed(_name_of(line)) for line in self._base_requirements())

    def _base_requirements(self) -> Iterator[str]:
        """Return what is needed everywhere, whatever the machine and the Python."""
        return (line for line, extra in self._requirements() if extra is None and ";" not in line)


def extra_fix(extra: str) -> str:
    """Return what an error advises where a library of this extra is missing."""
    return f"run: {Installation.here().extra_line(extra)}"


def pip_fix(*requirements: str) -> str:
    """Return what an error advises where a library is missing, or another version of it is needed."""
    return f"run: {Installation.here().pip_line(*requirements)}"


def upgrade_fix() -> str:
    """Return what an error advises where something was written by a newer ecovision-edge."""
    return f"this ecovision-edge is too old for it; {Installation.here().upgrade_words()}"


def missing_library(error: ImportError) -> MissingDependencyError | None:
    """Return the error to raise in place of one about a library that everything needs; None for others.

    Only numpy and OpenCV have native parts that a system may lack (`libopenblas.so.0: cannot open shared
    object file`), so "cannot be loaded" is told apart from "not installed".
    """
    module = (error.name or "").partition(".")[0]
    requirement = Installation.here().requirement_of(module)
    if requirement is None:
        return None
    absent = isinstance(error, ModuleNotFoundError) and error.name == module
    return MissingDependencyError(
        f"{module} is not installed" if absent else f"{module} cannot be loaded",
        found=None if absent else reason_of(error),
        fix=pip_fix(requirement),
    )


def _name_of(requirement: str) -> str:
    """Return `numpy` of `numpy>=1.23.5`."""
    match = _NAME_OF_REQUIREMENT.match(requirement)
    return "" if match is None else match[0]


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _text(distribution: metadata.Distribution, name: str) -> str:
    """Return a file of the metadata; empty if there is none."""
    return distribution.read_text(name) or ""


def _read(path: Path) -> str | None:
    """Return a record's text; None if it cannot be read."""
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError):
        return None


def _object(text: str) -> dict[str, object]:
    """Return a JSON object; empty for anything else."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def has_pip() -> bool:
    """Return whether this interpreter has pip.

    Not by find_spec("pip"): setuptools takes that for the start of pip, and puts back Python's own distutils,
    for the whole process.
    """
    try:
        metadata.version("pip")
    except metadata.PackageNotFoundError:
        return False
    return True
