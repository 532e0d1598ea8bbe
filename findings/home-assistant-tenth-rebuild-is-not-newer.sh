#!/usr/bin/env bash
# Home Assistant's update entity: 1.0.0-10 is not newer than 1.0.0-9 to it, nor is a later date after the hyphen; such
# an update is never shown. From 1 to 2 it is.
#
# Ground: a device that tells Home Assistant installed_version and latest_version by MQTT. The entity is "on" (there is
# an update) if the texts differ and AwesomeVersion(latest) > installed, or if that raises (components/update). Compared
# here by the same library: versions with a build number, a date, a pre-release or a commit.
# Guess before running: what differs is shown, or the order is SemVer's, by which identifiers of digits are numbers, and
# PEP 440's where a version is only that.
# Seen (awesomeversion 25.8.0):
#   1.0.0-2 over 1.0.0-1: newer; 1.0.0-10 over 1.0.0-9, 11 over 10, 1.0.0-20261130 over 1.0.0-20261129: neither is
#     newer, neither older, and they are not equal: off, for ever
#   1.0.0-alpha.1 over 1.0.0-alpha and 1.0.0.post1 over 1.0.0: the wrong way round, off
#   1.0.0-rc.10 over rc.9, 1.10 over 1.9, 2026.11.30.2 over .1, 20261130 over 20261129: newer, as they should be
#   two commits or two dates with hyphens: cannot be compared, so "on", whichever is newer
# So nine rebuilds of a model are offered to who looks after the house, and the tenth is not.
# What to do: give versions of digits and dots alone (2026.11.30.10).
#
# usage: bash findings/home-assistant-tenth-rebuild-is-not-newer.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check awesomeversion==25.8.0 packaging==26.0
venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version

from awesomeversion import AwesomeVersion, AwesomeVersionCompareException
from packaging.version import InvalidVersion, Version

print("awesomeversion", version("awesomeversion"))


def shown(latest, installed):
    """Tell whether the entity is on, by the rule of Home Assistant's components/update."""
    if latest == installed:
        return False
    try:
        return AwesomeVersion(latest) > installed
    except AwesomeVersionCompareException:
        return True


# latest, installed, is it shown?, is it shown the other way round?
SEEN = [("1.0.0-2", "1.0.0-1", True, False), ("1.0.0-10", "1.0.0-9", False, False),
        ("1.0.0-11", "1.0.0-10", False, False), ("1.0.0-20261130", "1.0.0-20261129", False, False),
        ("2026.11.30-10", "2026.11.30-9", False, False), ("1.0.0-alpha.1", "1.0.0-alpha", False, True),
        ("1.0.0.post1", "1.0.0", False, True), ("1.0.0-rc.10", "1.0.0-rc.9", True, False),
        ("1.10", "1.9", True, False), ("2026.11.30.2", "2026.11.30.1", True, False),
        ("20261130", "20261129", True, False), ("2026-11-30", "2026-11-29", True, True),
        ("b7d2e0", "3f9a1c", True, True)]
so = True
for latest, installed, forth, back in SEEN:
    found = shown(latest, installed), shown(installed, latest)
    so &= found == (forth, back)
    try:
        by_pep440 = ">" if Version(latest) > Version(installed) else "not >"
    except InvalidVersion:
        by_pep440 = "no order"
    print(f"{latest} over {installed}: {'on' if found[0] else 'off'}, the other way {'on' if found[1] else 'off'}"
          f" (PEP 440: {by_pep440})")
print("still so: the tenth rebuild is not newer" if so else "changed")
sys.exit(not so)
PYTHON
