"""`demo:?script=FILE`: a tray where things happen by a script; see `simulation.script_file`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ecovision_edge.base.addresses import Options
from ecovision_edge.camera.files import FileStream
from ecovision_edge.camera.source import Image
from ecovision_edge.camera.transform import Transform
from ecovision_edge.errors import EcovisionError, SourceError, SourceOpenError

if TYPE_CHECKING:
    from ecovision_edge.simulation.script import Script
    from ecovision_edge.simulation.truth import Truth

__all__ = ["ScriptSource", "script_source"]


@dataclass(frozen=True, slots=True)
class ScriptSource:
    """The frames of a script, each in its order and at its own pace.

    Args:
        script: What happens.
        loop: Whether it begins again at its end, for ever.
        transform: Applied to each frame.
        live: Never: a frame that comes late is not passed over.
    """

    script: Script
    loop: bool = False
    transform: Transform = field(default_factory=Transform)
    live: bool = False

    @property
    def name(self) -> str:
        """Always `demo`."""
        return "demo"

    @property
    def interval(self) -> float:
        """Seconds between frames, as the script has it."""
        return 1 / self.script.fps

    def truth(self) -> Truth:
        """Return what lies on the tray, and when, in seconds from the first frame."""
        from ecovision_edge.simulation.timeline import make_timeline

        return make_timeline(self.script).truth

    def connect(self) -> FileStream:
        """Begin with the first frame.

        Raises:
            SourceOpenError: a picture that the script names cannot be read.
        """
        return FileStream(self.name, self._frames(), self.transform, self._frames if self.loop else None)

    def _frames(self) -> Iterator[Image]:
        from ecovision_edge.simulation.composed import compose
        from ecovision_edge.simulation.script import Item

        for step in self.script.steps:
            if isinstance(step, Item) and step.picture is not None and not Path(step.picture).is_file():
                raise SourceOpenError(
                    "a picture of the script cannot be opened", expected="an image file", found=step.picture
                )
        return (frame.image for frame in compose(self.script))


def script_source(path: str, options: Options) -> ScriptSource:
    """Take `loop=1`, and nothing else of `demo:`, for the script says it.

    Raises:
        SourceError: the file cannot be read or is no script, or an option that it does not take.
    """
    from ecovision_edge.simulation.script_file import load_script
    from ecovision_edge.simulation.truth import read_document

    loop = options.flag("loop")
    transform = Transform.take(options)
    options.done()
    try:
        script = load_script(read_document(Path(path), "a script"), path)
    except EcovisionError as e:
        raise SourceError(f"the script of demo: {e.message}") from e
    return ScriptSource(script, loop, transform)
