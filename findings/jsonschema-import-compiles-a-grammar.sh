#!/usr/bin/env bash
# jsonschema: where rfc3987-syntax is installed, `import jsonschema` compiles 39 grammars for a format that no schema
# asked for, ten times the rest of its cost; without that package it compiles none.
#
# Ground: jsonschema with its extra format-nongpl, which tools for software bills of materials bring along, and a schema
# without any format.
# Guess before running: what checks a format is imported when a schema uses the format, and a FormatChecker was asked
# for, which is off by default.
# Seen (jsonschema 4.26.0, rfc3987-syntax 1.1.0, lark 1.3.1, Python 3.11):
#   import jsonschema: 39 grammars compiled by lark (Earley), before any schema is seen; 1.4 s of CPU
#   with rfc3987_syntax made unavailable: none; 0.14 s of CPU (times by hand, the script counts grammars). The format
#     iri is then unchecked; uri and date are checked as before
# So each process that validates anything pays for it, such as each worker of a test run.
# What to do: keep the tools that bring it out of the environment where jsonschema runs; or set
# sys.modules["rfc3987_syntax"] = None before the import, if no schema uses these two formats.
#
# usage: bash findings/jsonschema-import-compiles-a-grammar.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check "jsonschema[format-nongpl]==4.26.0" rfc3987-syntax==1.1.0 \
    lark==1.3.1
cat >count.py <<'PYTHON'
"""Print the grammars that `import jsonschema` and one validation compile."""
import sys

import lark

compiled = []
make = lark.Lark.__init__


def counting(self, *arguments, **options):
    compiled.append(options.get("parser", "earley"))
    make(self, *arguments, **options)


lark.Lark.__init__ = counting
if "without" in sys.argv:
    sys.modules["rfc3987_syntax"] = None
import jsonschema

jsonschema.validate({"label": "glass"}, {"type": "object", "properties": {"label": {"type": "string"}}})
known = jsonschema.FormatChecker.checkers
print(len(compiled), ",".join(compiled) or "none", "iri" in known, "uri" in known, "date" in known)
PYTHON
venv/bin/pip list --format freeze 2>/dev/null | grep -E "^(jsonschema|lark|rfc3987-syntax)=="
with=$(venv/bin/python count.py)
without=$(venv/bin/python count.py without)
echo "grammars, their parsers, iri checked, uri checked, date checked"
echo "with rfc3987-syntax: $with"
echo "without: $without"
if [ "${with%% *}" -ge 1 ] && [ "${without%% *}" = 0 ]; then
    echo "still so: the import compiles grammars"
else
    echo "changed"; exit 1
fi
