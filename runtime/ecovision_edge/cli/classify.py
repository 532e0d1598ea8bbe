"""`ecovision-edge classify`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecovision_edge.base.files import is_folder
from ecovision_edge.base.providers import provider_arguments
from ecovision_edge.cli.options import (
    ArtifactName,
    BundleOrModel,
    DelegateLibrary,
    Half,
    NoProfile,
    ProviderOptions,
    Providers,
    Threads,
)
from ecovision_edge.cli.output import printable, write_json
from ecovision_edge.errors import FrameError, ImageReadError, OptionError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ecovision_edge.base.fields import JsonValue
    from ecovision_edge.classifier import Classifier
    from ecovision_edge.photographs.images import Reduce
    from ecovision_edge.prediction import Prediction

__all__ = ["classify"]

DEMO_FRAMES = 8


def classify(
    images: Annotated[
        list[str],
        typer.Argument(help="Image files, folders of them, - for an image on standard input, or demo:."),
    ],
    bundle: BundleOrModel = None,
    artifact: ArtifactName = "auto",
    threads: Threads = None,
    providers: Providers = None,
    provider_option: ProviderOptions = None,
    delegate: DelegateLibrary = None,
    fp16: Half = False,
    no_profile: NoProfile = False,
    top: Annotated[int, typer.Option(help="How many classes to print for each image.")] = 1,
    whole: Annotated[
        bool, typer.Option("--whole", help="Decode JPEG files whole, as PIL does; not as small as will do.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write all probabilities here; - is stdout.")] = None,
) -> int:
    """Classify images; demo: is a few synthetic frames, for a try without a camera.

    A file that cannot be read is reported and passed over; the exit status is then 1. A large JPEG is decoded
    smaller, as long as the contract's filter still shrinks it: in half the time, with nearly the same answer.

    Examples:

      ecovision-edge classify photo.jpg

      ecovision-edge classify photos/ --top 3 --bundle build/reference

      rpicam-still -n -o - | ecovision-edge classify -

      ecovision-edge classify demo: --json -
    """
    from ecovision_edge.classifier import Classifier

    if not 1 <= top <= 1000:
        raise OptionError("--top", expected="1 to 1000", found=top)
    classifier = Classifier.load(
        bundle,
        artifact=artifact,
        threads=threads,
        delegate=delegate,
        fp16=fp16,
        profile=not no_profile,
        **provider_arguments(providers, provider_option),
    )
    rows: list[JsonValue] = []
    failed = 0
    for name, frame in _frames(images, None if whole else classifier.reduction):
        if isinstance(frame, ImageReadError):
            failed += 1
            print(f"ecovision-edge: {frame.message}", file=sys.stderr)
            continue
        try:
            prediction = classifier.classify(frame)
        except FrameError as e:  # too large a side, for instance
            failed += 1
            print(f"ecovision-edge: {printable(name)}: {e.message}", file=sys.stderr)
            continue
        if json is not None:
            rows.append(_to_json(name, prediction, classifier))
        if str(json) != "-":
            print(_line(name, prediction, classifier, top), flush=True)
    if json is not None:
        write_json({"artifact": classifier.artifact, "failed": failed, "images": rows}, json)
    return 1 if failed else 0


def _frames(
    images: list[str], reduce: Reduce | None
) -> Iterator[tuple[str, npt.NDArray[np.uint8] | ImageReadError]]:
    """Yield each image with its name; what cannot be read comes as its error."""
    from ecovision_edge.photographs.images import (
        IMAGE_KINDS,
        decode_image,
        find_images,
        found_instead,
        passed_over,
        read_image,
        read_image_stream,
    )

    for text in images:
        if text == "demo:":
            from ecovision_edge.simulation.synthetic import draw_frame

            for seed in range(DEMO_FRAMES):
                yield f"demo:{seed}", draw_frame(seed)
        elif text == "-":
            try:
                name = "standard input"
                data = read_image_stream(sys.stdin.buffer, name) if sys.stdin is not None else b""
                yield "-", decode_image(data, name, reduce)
            except ImageReadError as e:
                yield "-", e
        else:
            path = Path(text)
            passed: Counter[str] = Counter()
            found = find_images(path, passed) if is_folder(path) else iter([path])
            count = 0
            for file in found:
                count += 1
                try:
                    yield str(file), read_image(file, reduce)
                except ImageReadError as e:
                    yield str(file), e
            if count == 0:
                there = found_instead(passed)
                yield text, ImageReadError(f"no image in {text}", expected=IMAGE_KINDS, found=there)
            else:
                for note in passed_over(text, passed):
                    print(f"ecovision-edge: {printable(note)}", file=sys.stderr)


def _line(name: str, prediction: Prediction, classifier: Classifier, top: int) -> str:
    ranked = sorted(range(len(classifier.labels)), key=lambda i: -prediction.probabilities[i])[:top]
    classes = "  ".join(f"{classifier.labels[i]} {prediction.probabilities[i]:.3f}" for i in ranked)
    return f"{printable(name)}  {classes}  {prediction.timings.total_ms:.1f} ms"


def _to_json(name: str, prediction: Prediction, classifier: Classifier) -> JsonValue:
    t = prediction.timings
    return {
        "image": name.encode("utf-8", "backslashreplace").decode(),
        "label": prediction.label,
        "index": prediction.index,
        "score": prediction.score,
        "margin": prediction.margin,
        "probabilities": dict(zip(classifier.labels, prediction.probabilities, strict=True)),
        "timings_ms": {"prepare": t.prepare_ms, "infer": t.infer_ms, "post": t.post_ms, "total": t.total_ms},
    }
