"""A C compiler whose libraries this Python loads; an emulated Python wants a cross compiler."""

import os
import platform
import shlex
import shutil
import subprocess

import pytest


def c_compiler():
    """Its command, as `CC` has it; skips where there is none.

    `cc` in the path of an emulated Pi is this machine's own, which makes libraries for this machine.
    """
    machine = platform.machine()
    found = []
    for command in (os.environ.get("CC", "cc"), "gcc", f"{machine}-linux-gnu-gcc"):
        words = shlex.split(command)
        if words and shutil.which(words[0]) is not None:
            done = subprocess.run([*words, "-dumpmachine"], capture_output=True, text=True, check=False)
            target = done.stdout.strip()
            if target.startswith(machine):
                return command
            found.append(target)
    other = f", found for {', '.join(dict.fromkeys(found))}" if found else ""
    pytest.skip(f"needs a C compiler for {machine}: sudo apt-get install gcc libc6-dev{other}")
