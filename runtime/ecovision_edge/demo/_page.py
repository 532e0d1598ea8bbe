"""The demo page itself, in Gradio: what stands where, and what happens when."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import gradio as gr

from ecovision_edge.base.files import read_regular_file
from ecovision_edge.demo import answer
from ecovision_edge.demo.kept import MOST_VISITORS, Kept, Shot
from ecovision_edge.demo.pictures import MAX_UPLOAD_BYTES, decode_upload
from ecovision_edge.demo.session import DemoSession
from ecovision_edge.errors import EcovisionError, ImageReadError
from ecovision_edge.simulation.synthetic import ITEM_KINDS, draw_frame

__all__ = ["KEPT_S", "Page", "View"]

KEPT_S = 600
"""Seconds after which an uploaded file is deleted, while the page goes on."""

FRAME_EVERY_S = 0.25
"""Seconds between the webcam's frames: what a Raspberry Pi can answer too."""

# The network sees far less; what a webcam has by default takes a small computer long to carry about.
_CAMERA = {"video": {"width": {"ideal": 640}, "height": {"ideal": 480}}}

# Gradio reads the annotations as the page is made, to know which argument is its request.
_Payload: TypeAlias = Mapping[str, object] | None


@dataclass(slots=True)
class View:
    """What a visitor looks at. One object a visitor: a frame that was begun before sees that a tab was left.

    Args:
        films: Whether the webcam's tab is open.
    """

    films: bool = False

    def left(self) -> bool:
        """Return whether it is not, now."""
        return not self.films


class Page:
    """The page of one session.

    Args:
        session: Whom it asks.
        folder: Where Gradio keeps uploads; nothing outside it is read.
        top: How many classes it shows.
        machine: What it calls this machine.
    """

    def __init__(self, session: DemoSession, folder: Path, *, top: int, machine: str) -> None:
        """Draw the examples into `folder`, and lay out the page."""
        self._session, self._folder, self._top, self._machine = session, folder.resolve(), top, machine
        self.kept = Kept()
        self.blocks = self._layout()

    # What happens. Each gives the new contents of the places that it is bound to.

    def picture(self, payload: _Payload, artifact: str, request: gr.Request) -> tuple[object, ...]:
        """Answer a picture that was uploaded, pasted, chosen, or taken away: all is new."""
        shot, shown = self._asked(payload, artifact)
        self.kept.put(_visitor(request), shot)
        return shown

    def to_picture(
        self, payload: _Payload, artifact: str, view: View, request: gr.Request
    ) -> tuple[object, ...]:
        """Ask again about the picture of the tab of pictures, which was opened, if it has one."""
        view.films = False
        if payload is None:
            return tuple(gr.skip() for _ in range(6))
        return self.picture(payload, artifact, request)

    def to_webcam(self, view: View) -> None:
        """Note that the webcam's tab was opened."""
        view.films = True

    def again(self, artifact: str, request: gr.Request) -> tuple[object, ...]:
        """Ask another artifact, which was chosen, about the same picture."""
        shot = self.kept.get(_visitor(request))
        if shot is None:
            return self._nothing()
        shot, shown = self._answer(shot, artifact)
        self.kept.put(_visitor(request), shot)
        return shown

    def frame(self, payload: _Payload, artifact: str, view: View, request: gr.Request) -> tuple[object, ...]:
        """Answer a frame of the webcam; the map stays, and a screen reader hears of another label alone.

        It goes on filming while another tab is looked at, whose answer is left alone.
        """
        nothing = tuple(gr.skip() for _ in range(4))
        if payload is None or view.left():
            return nothing
        before = self.kept.get(_visitor(request))
        shot, (card, seen, _, _, said, button) = self._asked(payload, artifact)
        if view.left():  # meanwhile
            return nothing
        self.kept.put(_visitor(request), shot)
        same = shot is not None and before is not None and shot.answer == before.answer
        return card, seen, gr.skip() if same else said, button

    def where(self, artifact: str, request: gr.Request) -> tuple[str, str]:
        """Make the map that was asked for."""
        shot = self.kept.get(_visitor(request))
        if shot is None:  # the connection was lost for a while, or others have come
            return answer.nowhere_html("The picture is no longer kept: choose it again.")
        try:
            return answer.where_html(self._session.where(decode_upload(shot.data, shot.name), artifact))
        except EcovisionError as e:
            return answer.nowhere_html(e.message)

    def forget(self, request: gr.Request) -> None:
        """Forget the picture of a tab that was closed, or reloaded: nobody can ask about it any more."""
        self.kept.forget(_visitor(request))

    def _asked(self, payload: _Payload, artifact: str) -> tuple[Shot | None, tuple[object, ...]]:
        """Return what is to be kept, and shown, of what Gradio hands over."""
        if payload is None:
            return None, self._nothing()
        try:
            shot = self._read(payload)
        except EcovisionError as e:
            return None, self._refused(e)
        return self._answer(shot, artifact)

    def _answer(self, shot: Shot, artifact: str) -> tuple[Shot | None, tuple[object, ...]]:
        try:
            look = self._session.look(decode_upload(shot.data, shot.name), artifact)
        except EcovisionError as e:
            return None, self._refused(e)
        said = "unknown" if look.unknown else look.prediction.label
        return Shot(shot.data, shot.name, said), (
            answer.answer_html(look, self._top, self._session.contract, self._machine),
            answer.seen_html(look),
            *answer.nowhere_html(),
            answer.spoken_html(look),
            gr.update(interactive=True),
        )

    def _nothing(self) -> tuple[object, ...]:
        off = gr.update(interactive=False)
        return answer.nothing_html(), answer.seen_html(None), *answer.nowhere_html(), "", off

    def _refused(self, error: EcovisionError) -> tuple[object, ...]:
        return (answer.error_html(error.message), *self._nothing()[1:])

    def _read(self, payload: Mapping[str, object]) -> Shot:
        """Read the bytes of what Gradio hands over: a file that was uploaded, or a `data:` address.

        Raises:
            ImageReadError: it is neither, or cannot be read.
        """
        url, path, name = payload.get("url"), payload.get("path"), payload.get("orig_name")
        called = Path(str(name)).name[:80] if name else "the picture"
        if isinstance(url, str) and url.startswith("data:"):
            try:
                return Shot(base64.b64decode(url.partition(",")[2], validate=True), "the webcam's frame")
            except binascii.Error as e:
                raise ImageReadError("cannot read the webcam's frame", found=str(e)) from e
        if not isinstance(path, str) or not Path(path).resolve().is_relative_to(self._folder):
            raise ImageReadError(f"cannot read {called}", expected="an uploaded file")
        try:
            return Shot(read_regular_file(Path(path), MAX_UPLOAD_BYTES), called)
        except (OSError, ValueError) as e:
            reason = e.strerror if isinstance(e, OSError) and e.strerror else type(e).__name__
            raise ImageReadError(f"cannot read {called}", expected="an uploaded file", found=reason) from e

    # What stands where.

    def _layout(self) -> gr.Blocks:
        session = self._session
        names = [c.name for c in session.choices if c.classifier is not None]
        # Files are deleted ten minutes after they came; the folder goes with the server.
        with gr.Blocks(
            title=f"ecovision-edge: {session.name}", analytics_enabled=False, delete_cache=(60, KEPT_S)
        ) as blocks:
            view = gr.State(View())
            _html(answer.header_html(session.name))
            with gr.Row(elem_id="eco-columns"):
                with gr.Column(scale=6, min_width=280):
                    image, webcam, (first, second) = self._sources()
                    artifact = gr.Radio(
                        names,
                        value=session.default,
                        label="Artifact",
                        elem_id="eco-artifact",
                        interactive=True,
                    )
                    _html(answer.artifacts_html(session.choices))
                with gr.Column(scale=5, min_width=280):
                    said = _html("", "eco-said")
                    card = _html(answer.nothing_html(), "eco-answer")
                    with gr.Row(elem_id="eco-pictures"):
                        seen = _html(answer.seen_html(None), "eco-seen")
                        where = _html(answer.nowhere_html()[0], "eco-where")
                    legend = _html("", "eco-about")
                    button = gr.Button("Show where it looked", elem_id="eco-button", interactive=False)
            everything = [card, seen, where, legend, said, button]
            hidden = {"api_visibility": "private"}
            image.change(
                self.picture,
                [image, artifact],
                everything,
                preprocess=False,
                show_progress="minimal",
                show_progress_on=card,
                trigger_mode="always_last",
                **hidden,
            )
            artifact.change(
                self.again,
                artifact,
                everything,
                show_progress="minimal",
                show_progress_on=card,
                trigger_mode="always_last",
                **hidden,
            )
            webcam.stream(
                self.frame,
                [webcam, artifact, view],
                [card, seen, said, button],
                preprocess=False,
                show_progress="hidden",
                trigger_mode="multiple",  # with "once" no frame follows the first: the stream is one event
                stream_every=FRAME_EVERY_S,
                **hidden,
            )
            first.select(
                self.to_picture,
                [image, artifact, view],
                everything,
                preprocess=False,
                show_progress="hidden",
                **hidden,
            )
            second.select(self.to_webcam, view, None, show_progress="hidden", **hidden)
            button.click(
                self.where,
                artifact,
                [where, legend],
                show_progress="minimal",
                trigger_mode="once",
                **hidden,
            )
            blocks.unload(self.forget)
        blocks.state_session_capacity = MOST_VISITORS  # each has what it is shown; Gradio's own is 10,000
        return blocks

    def _sources(self) -> tuple[gr.Image, gr.Image, tuple[gr.Tab, gr.Tab]]:
        with gr.Tabs(elem_id="eco-sources"):
            with gr.Tab("Picture") as first:
                image = gr.Image(
                    label="Picture to classify",
                    sources=["upload", "clipboard"],
                    type="filepath",
                    image_mode=None,
                    height=360,
                    buttons=[],
                    elem_id="eco-picture",
                )
                gr.Examples(
                    [[str(path)] for path in self._examples()],
                    [image],
                    label="Examples: synthetic, not photographs, so the answers mean little",
                    elem_id="eco-examples",
                    cache_examples=False,
                    examples_per_page=len(ITEM_KINDS),
                    api_visibility="private",
                )
            with gr.Tab("Webcam") as second:
                _html(answer.webcam_html())
                webcam = gr.Image(
                    label="Webcam",
                    sources=["webcam"],
                    streaming=True,
                    type="filepath",
                    image_mode=None,
                    height=360,
                    buttons=[],
                    webcam_options=gr.WebcamOptions(mirror=False, constraints=_CAMERA),
                    elem_id="eco-webcam",
                )
        return image, webcam, (first, second)

    def _examples(self) -> list[Path]:
        folder = self._folder / "examples"
        folder.mkdir()
        paths = [folder / f"drawn-{kind}.png" for kind in ITEM_KINDS]
        for seed, path in enumerate(paths):
            cv2.imwrite(str(path), draw_frame(seed))
        return paths


def _visitor(request: gr.Request) -> str:
    """Return which tab asks."""
    return request.session_hash or ""


def _html(text: str, name: str | None = None) -> gr.HTML:
    """Return a place for HTML of our own, with the page's style and no script."""
    return gr.HTML(text, elem_id=name, js_on_load=None, apply_default_css=False)
