"""Arm without a board: an emulated Raspberry Pi to test in and to count instructions in; a developers' tool.

    python -m ecovision_edge_bench.arm64 root DIR [--system SYSTEM] [--wheel WHEEL] [--install]
    python -m ecovision_edge_bench.arm64 table DIR [DIR ...] [--cpu CPU,CPU] [--bundle BUNDLE ...]
    python -m ecovision_edge_bench.arm64 test DIR [--cpu CPU] [--log FILE] [-- PYTEST_ARGUMENTS]
    python -m ecovision_edge_bench.arm64 results FILE [FILE ...]
    python -m ecovision_edge_bench.arm64 process DIR [--cpu CPU] [--times N] -- PYTHON_ARGUMENTS
    python -m ecovision_edge_bench.arm64 count DIR [MODEL_OR_BUNDLE ...] [--cpu CPU,CPU] [--mix]
                                               [--fp16] [--prepare SIZES] [--whole SIZES] [--jpeg]
                                               [--filter FILTER]
                                               [--markdown] [--json FILE]

**`root`** makes DIR/root (400 MB, half a minute): Python and its libraries of Debian 12 for arm64, which is
what Raspberry Pi OS bookworm is made of, and aarch64 wheels of the engines, of what the runtime's tests need
and of this project, installed by this machine's pip. Until the first start nothing of it runs; nothing is
mounted, and no privilege is needed. Debian's tools are: where some are missing the error names the apt-get
line, and `--install`, as root, runs it. A finished root is used again as long as this recipe and the wheel
are the same. One that was interrupted is never taken for finished; the next run makes it again.

`--system trixie` makes it of Debian 13 with Python 3.13, which today's Raspberry Pi OS is made of.

DIR/root/usr/local/bin/python3 starts the emulated Python as any program is started, so a test can start
`sys.executable`. QEMU_CPU chooses the CPU: `cortex-a72` (Raspberry Pi 4, the default), `cortex-a76` (Pi 5) or
`cortex-a53` (Pi 3), never QEMU's own default, which has SVE and i8mm that no Pi has. /usr, /lib and what
tells of the CPU (/proc/cpuinfo, a little of /sys; the engines choose their kernels by it) are the board's.
All other files are this machine's, and so is what the emulated Python starts other than itself (`/bin/sh`,
`head`).

**`test`** runs tests/runtime of this checkout there, all of it, against the installed wheel, which has to be
of these sources unless it was given with `--wheel`. What follows `--` goes to pytest, for instance
`-k contract`; the exit status is pytest's. What needs torch, torchvision, mypy or a browser is skipped: they
are not in the root. With `--log FILE` each file of tests has a process of its own and its result a place in
FILE, so that a run that was killed has lost one file and goes on when it is started again; at the end, and by
**`results`**, the logs become a table: what passed, what failed, what was skipped and why.

**`table`** says for each board and each of these roots which engine installs (as a wheel, by pip), imports,
and runs each artifact of a bundle, and how its logits compare with the golden ones: what `verify` says there.

**`count`** tells how many instructions one inference takes in one thread, from the call in Python to the
result in Python, on each CPU: of each .onnx in onnxruntime, of each .tflite in LiteRT, of a bundle all
artifacts. The default is the bundle inside the package; a model takes a minute. The method:

- A plugin of QEMU's (plugin.c) counts what the process's first thread executes. The program marks the points
  before and after each inference by a system call that does nothing, and their difference is the inference:
  start-up is not in it. What a mark costs is measured by marks with nothing between, and taken off. The
  figure is the median of 5 inferences, after 3 that are not counted.
- Other threads are not in it: onnxruntime's telemetry, for one, would add half a million instructions now and
  then. (It is switched off here as well, by ORT_DISABLE_TELEMETRY=1.) A count is refused where another thread
  works in every inference: then the engine does not keep to one.
- All is done twice, in two processes, and the table gives the difference, which is at most some millionths:
  each gets the same input, settings and hash seed. Beyond 0.01 % it is an error, exit status 1. Between roots
  in folders of other names some 0.005 % come and go, as addresses do; so the table has one decimal of a
  million, and the JSON all digits.

`--fp16` counts each .tflite in fp16 too, as `ecovision_edge.backends.half` runs it, on a CPU that has it.

`--prepare 640x480,1920x1080` counts preparing a frame of each size instead, and `--whole` all from the frame
to the prediction, with `--jpeg` from the frame's JPEG; by the same method, and with the runtime of this
checkout, whatever wheel the root has. Preparing is by the contract, so of a bundle one artifact will do.
OpenCV and numpy keep to one thread. `--mix` adds which instructions they are.

**`process`** counts all that a program executes, in all its threads and in the Pythons that it starts, from
start to end: once with N of something and once with twice as many, so that their difference is N of them and
what is left is the start. `{n}` in the arguments becomes the number:

    ... process build/pi -- -m ecovision_edge run --source demo: --max-frames {n}

It is of this checkout too, whose modules are compiled before. Threads that wait, and pacing by the clock,
make it repeat less well than `count`: take an N whose work is large against the start.

**Instructions are not time.** Caches, memory and what each instruction costs are left out. They compare two
graphs, or two engines, on one CPU, without noise. Never read them as milliseconds.
"""
