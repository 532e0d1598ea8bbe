"""Making the emulated root, or using again the one that is there."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ecovision_edge.base.files import is_there, try_lock
from ecovision_edge.base.names import quoted
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import OptionError
from ecovision_edge_bench.arm64.boards import BOARDS
from ecovision_edge_bench.arm64.root import STAMP, PiRoot, Stamp, recipe
from ecovision_edge_bench.arm64.sources import build_wheel, pip_command, sha256
from ecovision_edge_bench.arm64.systems import SYSTEMS, System
from ecovision_edge_bench.arm64.tools import EmulationError, last_line, require_tools, run_step

__all__ = ["make_root"]

PACKAGES = ("python3", "libstdc++6")
WHEELS = (
    *("numpy", "opencv-python-headless", "onnxruntime", "platformdirs", "typer", "ai-edge-litert"),
    *("pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "onnx", "pillow"),  # for tests/runtime
)
"""Named in the stamp with their versions."""

EXTRA = "dev-runtime"
"""Of the project's wheel: all that tests/runtime needs."""

LAUNCHER = """\
#!/bin/sh
# The emulated Python as a program like any other; QEMU_CPU chooses the CPU.
program=$(readlink -f "$0")
root=${program%/usr/local/bin/*}
# onnxruntime's telemetry is on unless told otherwise: a thread of its own, and nothing to report from here.
export QEMU_CPU="${QEMU_CPU:-cortex-a72}" ORT_DISABLE_TELEMETRY=1
[ -d "$root/boards/$QEMU_CPU" ] || { echo "no files of a board with $QEMU_CPU in $root" >&2; exit 2; }
# -0 makes this file sys.executable, so that who starts that starts the emulator; -s: no packages of a user's.
exec qemu-aarch64 -L "$root/boards/$QEMU_CPU" -0 "$root/usr/local/bin/python3" "$root/usr/bin/python3" -s "$@"
"""
COMMAND = """\
#!/bin/sh
exec "$(dirname "$0")/python3" -c 'import sys; from ecovision_edge.cli import main; sys.exit(main())' "$@"
"""
FIRST_START = """\
import importlib.metadata, json, platform, sys
import ai_edge_litert.interpreter, cv2, hypothesis, numpy, onnx, onnxruntime, PIL, pytest, typer
import ecovision_edge.classifier, ecovision_edge_bench
assert platform.machine() == "aarch64"
print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))
"""


def make_root(
    folder: Path,
    wheel: Path | None = None,
    say: Callable[[str], object] | None = None,
    system: str = "bookworm",
) -> PiRoot:
    """Make `folder`/root, or use the one that is there if it is what would be made.

    Args:
        folder: Made where it is not there.
        wheel: The project's; None: it is built from this checkout.
        say: Is told of each step.
        system: Debian's name of it, one of `SYSTEMS`.

    Raises:
        MissingDependencyError: Debian's tools or pip are missing.
        OptionError: no such system or wheel, or `folder`/root is something else.
        EmulationError: a step failed, or another process is making the same root.
    """
    if system not in SYSTEMS:
        raise OptionError("--system", expected=" or ".join(SYSTEMS), found=quoted(system))
    require_tools()
    say = say or (lambda step: None)
    with tempfile.TemporaryDirectory() as temporary:
        file = build_wheel(Path(temporary)) if wheel is None else wheel
        if file.suffix != ".whl" or not file.is_file():
            raise OptionError("--wheel", expected="a wheel of this project", found=file)
        wanted = Stamp(recipe(), sha256(file), wheel is not None, system)
        try:
            with _locked(folder) as lock:
                root = folder.resolve() / "root"
                stamp = Stamp.read(root)
                if stamp is not None and stamp.fits(wanted):
                    return PiRoot(root, stamp)
                if is_there(root, link=True) and not (root / STAMP).is_file():
                    raise OptionError(
                        f"{root} was not made by this tool",
                        expected="a folder without it",
                        fix="move it away",
                    )
                return _make(root, file, wanted, say, lock)
        except OSError as error:
            raise EmulationError(f"cannot write {folder}", found=reason_of(error)) from error


def _make(root: Path, wheel: Path, stamp: Stamp, say: Callable[[str], object], lock: int) -> PiRoot:
    """Make it beside its place, and move it there when it is finished."""
    system = SYSTEMS[stamp.system]
    unfinished, old = root.with_name("root.unfinished"), root.with_name("root.old")
    _remove(unfinished)
    _remove(old)
    try:
        say(f"{system.title} for arm64")
        # Extracted only, so nothing of it runs, and all of it is the user's own.
        debian = ["mmdebstrap", "--quiet", "--mode=chrootless", "--variant=extract", "--architectures=arm64"]
        run_step(
            "mmdebstrap", [*debian, f"--include={','.join(PACKAGES)}", system.suite, str(unfinished)], lock
        )
        if not is_there(unfinished / "lib", link=True):
            (unfinished / "lib").symlink_to("usr/lib")  # since Debian 13 no package brings it
        for board in BOARDS.values():
            # Each board's folder is a root of its own: it links what they share.
            view = unfinished / "boards" / board.cpu
            board.write_files(view)
            for name in ("usr", "lib"):
                (view / name).symlink_to(Path("../..", name))
        say(f"wheels: {', '.join(WHEELS)}, {wheel.name}")
        run_step(
            "pip install",
            [*pip_command("install"), *_into(unfinished, system), *WHEELS, f"{wheel}[{EXTRA}]"],
            lock,
        )
        say("the counting plugin")
        source, plugin = Path(__file__).with_name("plugin.c"), unfinished / "plugin.so"
        compile_ = ["gcc", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-fvisibility=hidden"]
        run_step("gcc", [*compile_, "-o", str(plugin), str(source)], lock)
        programs = unfinished / "usr/local/bin"
        programs.mkdir(parents=True, exist_ok=True)
        for name, text in {"python3": LAUNCHER, "ecovision-edge": COMMAND}.items():
            (programs / name).write_text(text, encoding="utf-8")
            (programs / name).chmod(0o755)
        say("first start")
        stamp = replace(stamp, versions=_first_start(unfinished, stamp))
        stamp.write(unfinished)
        if root.exists():
            root.rename(old)
        unfinished.rename(root)
        _remove(old)
    except BaseException:
        with contextlib.suppress(OSError):
            _remove(unfinished)
        raise
    return PiRoot(root, stamp)


def _first_start(root: Path, stamp: Stamp) -> dict[str, str]:
    """Import everything, which also leaves it compiled; the versions."""
    done = PiRoot(root, stamp).python("cortex-a72", "-c", FIRST_START, *WHEELS, "ecovision-edge", timeout=600)
    if done.returncode != 0:
        found = last_line(done.stderr, done.returncode)
        raise EmulationError("the emulated Python does not work", found=found)
    versions: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return versions


def _into(root: Path, system: System) -> list[str]:
    """Options by which pip installs for the root's Python, whatever runs pip."""
    return ["--target", str(root / system.libraries), "--no-compile", *system.target.pip_options()]


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Keep other processes from making a root in `folder`; gives the lock's descriptor."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "root.lock").open("w") as lock:
        if not try_lock(lock.fileno()):
            raise EmulationError(f"another process is making {folder / 'root'}", fix="wait for it")
        yield lock.fileno()


def _remove(folder: Path) -> None:
    if is_there(folder, link=True):
        shutil.rmtree(folder)
