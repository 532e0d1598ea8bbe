#!/usr/bin/env bash
# torch.distributed with gloo: broadcast and all_reduce take the order in memory for the order of the values: what is
# transposed or channels_last on one rank and not on another arrives scrambled.
#
# Ground: three processes on one machine, as a training on CPUs has them. Rank 0 has a matrix as a transposed view, then
# a batch of pictures in channels_last; the others hold the same shape contiguous.
# Guess before running: the values arrive, whatever the strides; or it is refused, as send() refuses such a tensor
# ("input tensor has to be contiguous").
# Seen (torch 2.14.1, Linux):
#   broadcast of a 2x3 matrix transposed, into contiguous 3x2: (0, 3), (1, 4), (2, 5) arrives as (0, 1), (2, 3), (4, 5)
#   broadcast of a channels_last batch: the pixels arrive in another order
#   all_reduce of the same matrix: no process has the right sums, and they differ between processes
#   all_gather: right; nowhere an error or a warning
# So statistics, an evaluation's matrix or the weights of a checkpoint that one sends oneself may be spoilt on all ranks
# but the one that looks at them.
# What to do: send .contiguous() tensors and receive into contiguous ones, also where no view is in sight: x.T, permute
# and memory_format make them.
#
# usage: bash findings/gloo-sends-memory-order.sh   (exit 0: still so; 1: it has changed)
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
matrix = torch.arange(6.0).reshape(2, 3)
batch = torch.arange(12.0).reshape(1, 3, 2, 2)
said = {}


def mine(sent):
    """Give rank 0 what it sends, the others room for it."""
    return sent if rank == 0 else torch.zeros(sent.shape)


view = mine(matrix.T)
ranks.broadcast(view, 0)
said["broadcast"] = view.tolist()
pictures = mine(batch.to(memory_format=torch.channels_last))
ranks.broadcast(pictures, 0)
said["channels_last"] = pictures.flatten().tolist()
part = matrix.clone().T if rank == 0 else matrix.T.contiguous()
ranks.all_reduce(part)
said["all_reduce"] = part.tolist()
gathered = [torch.zeros(3, 2) for _ in range(count)]
ranks.all_gather(gathered, matrix.T)
said["all_gather"] = gathered[0].tolist()
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
right = [[0, 3], [1, 4], [2, 5]]
ordered = list(range(12))
so = said[0]["broadcast"] == right and all(other["broadcast"] == [[0, 1], [2, 3], [4, 5]] for other in said[1:])
so &= said[0]["channels_last"] == ordered and all(other["channels_last"] != ordered for other in said[1:])
so &= all(sums["all_reduce"] != [[3 * value for value in row] for row in right] for sums in said)
so &= said[0]["all_reduce"] != said[1]["all_reduce"]
so &= all(part["all_gather"] == right for part in said)
print("still so: what arrives is the memory, not the values" if so else "changed")
sys.exit(not so)
PYTHON
