#!/usr/bin/env bash
# torch.distributed with gloo: all_reduce by MAX with a NaN gives NaN if rank 0 has it; on another rank the NaN is lost,
# and the maximum of the others with it.
#
# Ground: three processes on one machine, as a training on CPUs has them. Each has a loss: 1, 2, 3, and one is NaN.
# Guess before running: NaN if any is, as torch.max() has it; or NaN is ignored, as by fmax(), and the rest counts.
# Seen (torch 2.14.1, Linux), on all ranks alike:
#   MAX of (NaN, 2, 3) is NaN; of (1, NaN, 3) it is 1, so that 3 is lost too; of (1, 2, NaN) it is 2
#   MIN of (NaN, 2, 3) is NaN; of (1, NaN, 3) and (1, 2, NaN) it is 1; SUM is NaN in each case
# So "stop if the loss of any rank is NaN" by MAX works in the trial on one process and sees rank 0's alone in earnest.
# What to do: ask for NaN by a SUM, of the loss or of isnan(), before anything else is reduced.
#
# usage: bash findings/gloo-max-loses-nan.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6
cat >rank.py <<'PYTHON'
import json
import sys

import torch
import torch.distributed as ranks

rank, count, meeting = int(sys.argv[1]), 3, sys.argv[2]
torch.set_num_threads(1)
ranks.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
said = {}
for name in ("MAX", "MIN", "SUM"):
    for bad in range(count):
        loss = torch.tensor([float("nan") if rank == bad else rank + 1.0])
        ranks.all_reduce(loss, getattr(ranks.ReduceOp, name))
        said[f"{name}, NaN on rank {bad}"] = str(loss.item())
ranks.barrier()
ranks.destroy_process_group()
json.dump(said, open(f"said{rank}", "w"))
PYTHON
venv/bin/python - 2>log <<'PYTHON' || { cat log >&2; exit 1; }
import json
import os
import subprocess
import sys
from importlib.metadata import version

print("torch", version("torch"))
processes = [subprocess.Popen([sys.executable, "rank.py", str(rank), os.path.abspath("meeting")]) for rank in range(3)]
try:
    assert [process.wait(timeout=300) for process in processes] == [0, 0, 0]
finally:
    for process in processes:
        process.kill()
said = [json.load(open(f"said{rank}")) for rank in range(3)]
for name in said[0]:
    print(f"{name}: " + "; ".join(f"rank {rank} {answers[name]}" for rank, answers in enumerate(said)))
SEEN = {"MAX": ["nan", "1.0", "2.0"], "MIN": ["nan", "1.0", "1.0"], "SUM": ["nan"] * 3}
so = all(answers[f"{name}, NaN on rank {bad}"] == value for answers in said
         for name, values in SEEN.items() for bad, value in enumerate(values))
print("still so: MAX sees the NaN of rank 0 alone" if so else "changed")
sys.exit(not so)
PYTHON
