"""What the user asks of a training, checked before any work is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.names import quoted
from ecovision_edge.errors import OptionError
from ecovision_edge_export.train.core.terms import FitOptions
from ecovision_edge_export.train.recipes import QAT, RECIPES, Recipe

__all__ = ["Settings", "TrainOptions", "settle"]

MIN_SIDE, MAX_SIDE = 32, 1024  # pixels; as `export` has it
MAX_BATCH = 65536
MAX_THREADS = 1024
TEACHER_WEIGHT = 0.7
_OPTIONS = {
    "size": "--imgsz",
    "teachers": "--teacher",
    "teacher_weight": "--teacher-weight",
}  # whose name is not the setting's own


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """All that `ecovision-edge train` takes; None is the default, or with `resume` what was saved.

    Args:
        data: Photographs, one folder per class.
        val: Those to validate on; None splits them off `data`.
        map: Folders of other names, as `ecovision_edge.photographs.labelled.parse_map` reads it.
        init: `imagenet`, `none`, or what `load_checkpoint` takes.
        recipe: One of `RECIPES`.
        freeze: Train the classifier alone, on features computed once.
        teachers: Networks to learn from too, each as `load_teacher` reads it.
        teacher_weight: Share of the loss that is the teachers', 0 to 1.
        epochs: At least 1.
        batch: Photographs in a step.
        lr: Learning rate.
        seed: Of everything random.
        size: Height and width, pixels.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        threads: Of torch, on the CPU; None is torch's own choice.
        workers: Threads that read and change photographs; None: the cores, at most 4.
        save_every: Seconds between two saves in the middle of an epoch.
        resume: Go on with the training in the folder.

    Raises:
        OptionError: a value outside its range.
    """

    data: Path
    val: Path | None = None
    map: str | None = None
    init: str | None = None
    recipe: str | None = None
    freeze: bool | None = None
    teachers: tuple[str, ...] | None = None
    teacher_weight: float | None = None
    epochs: int | None = None
    batch: int | None = None
    lr: float | None = None
    seed: int | None = None
    size: tuple[int, int] | None = None
    device: str = "auto"
    threads: int | None = None
    workers: int | None = None
    save_every: float = 60.0
    resume: bool = False

    def __post_init__(self) -> None:
        if self.recipe is not None and self.recipe not in RECIPES:
            raise OptionError("--recipe", expected=" or ".join(RECIPES), found=quoted(self.recipe))
        _in_range("--batch", self.batch, 2, MAX_BATCH)
        _in_range("--threads", self.threads, 1, MAX_THREADS)
        _in_range("--workers", self.workers, 0, MAX_THREADS)
        if self.size is not None and not all(MIN_SIDE <= side <= MAX_SIDE for side in self.size):
            found = "x".join(map(str, self.size))
            raise OptionError("--imgsz", expected=f"{MIN_SIDE} to {MAX_SIDE} pixels", found=found)
        if self.init is not None and not self.init.strip():
            raise OptionError("--init", expected="imagenet, reference, none or a checkpoint", found="nothing")
        if any(not teacher.strip() for teacher in self.teachers or ()):
            raise OptionError("--teacher", expected="a .onnx file or a checkpoint", found="nothing")
        if self.teacher_weight is not None and not 0 <= self.teacher_weight <= 1:
            raise OptionError("--teacher-weight", expected="0 to 1", found=self.teacher_weight)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a training's result depends on, beside the photographs and the weights it starts from."""

    init: str
    recipe: str
    freeze: bool
    epochs: int
    batch: int
    lr: float
    seed: int
    size: tuple[int, int]
    map: str | None
    val: bool
    teachers: tuple[str, ...] = ()
    teacher_weight: float = TEACHER_WEIGHT

    @property
    def how(self) -> Recipe:
        """The recipe itself."""
        return RECIPES[self.recipe]

    def to_json(self) -> dict[str, JsonValue]:
        """Return all of them."""
        values: dict[str, JsonValue] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            values[f.name] = list(value) if isinstance(value, tuple) else value
        return values


def settle(options: TrainOptions, saved: Mapping[str, object] | None) -> Settings:
    """Return the settings: as given, else as saved, else the recipe's.

    Args:
        options: As given.
        saved: `Settings.to_json` of the training that is to go on; None for a new one.

    Raises:
        OptionError: given and saved differ, or the settings do not go together. More epochs than saved are
            possible where the recipe does not depend on their number.
    """
    recipe = options.recipe or str((saved or {}).get("recipe", "card"))
    how = RECIPES[recipe]
    defaults: dict[str, object] = {
        "init": "imagenet",
        "recipe": recipe,
        "freeze": False,
        "epochs": how.epochs,
        "batch": how.batch,
        "lr": how.lr,
        "seed": 0,
        "size": (224, 224),
        "map": None,
        "teachers": (),
        "teacher_weight": TEACHER_WEIGHT,
    }
    # A state of an older version says nothing of what it did not have.
    known = defaults | {k: tuple(v) if isinstance(v, list) else v for k, v in (saved or {}).items()}
    given = {name: getattr(options, name) for name in defaults}
    if saved is not None:
        _check_same(given, options.val is not None, known, how)
    chosen = {name: value if value is not None else known[name] for name, value in given.items()}
    settings = Settings(val=options.val is not None, **chosen)  # type: ignore[arg-type]
    _check_together(settings, options)
    return settings


def _check_same(given: Mapping[str, Any], val: bool, known: Mapping[str, Any], how: Recipe) -> None:
    """Refuse what is given now and differs from what the training began with."""
    may_go_on = how.schedule == "constant" and len(how.sizes) == 1
    for name, value in given.items():
        longer = name == "epochs" and may_go_on and value is not None and value > known[name]
        if value is not None and value != known[name] and not longer:
            raise _differs(_OPTIONS.get(name, f"--{name}"), known[name], value)
    if known["val"] != val:
        raise _differs("--val", *("given" if v else "not given" for v in (known["val"], val)))


def _check_together(settings: Settings, options: TrainOptions) -> None:
    """Refuse settings that exclude each other, before photographs are read."""
    FitOptions(epochs=settings.epochs, lr=settings.lr, seed=settings.seed)
    if settings.freeze and settings.recipe != "card":
        raise OptionError(
            "--freeze", expected="--recipe card: its features are computed once", found=settings.recipe
        )
    _check_teachers(settings, options)
    if settings.recipe == QAT and settings.init in ("imagenet", "none"):
        raise OptionError(
            "--qat",
            expected="--init with a trained checkpoint, or reference",
            found=f"--init {settings.init}",
        )


def _check_teachers(settings: Settings, options: TrainOptions) -> None:
    if not settings.teachers:
        if options.teacher_weight is not None:
            raise OptionError(
                "--teacher-weight", expected="--teacher with it", found="no --teacher", fix="give a teacher"
            )
        return
    for option, is_set, why in (
        ("--freeze", settings.freeze, "its features are computed once, and a teacher looks at photographs"),
        ("--qat", settings.recipe == QAT, "it learns the answers of its own start"),
    ):
        if is_set:
            raise OptionError(
                f"{option}: {why}",
                expected="no --teacher",
                found="--teacher",
                fix=f"train with the teacher first, then with {option} from that",
            )


def _differs(option: str, saved: object, given: object) -> OptionError:
    before, now = map(_shown, (saved, given))
    return OptionError(
        f"{option} is not what this training began with",
        expected=before,
        found=now,
        fix="leave it out with --resume, or train again in another --out",
    )


def _shown(value: object) -> object:
    if not isinstance(value, tuple):
        return value
    sizes = all(isinstance(v, int) for v in value)
    return ("x" if sizes else ", ").join(map(str, value)) or "none"


def _in_range(option: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise OptionError(option, expected=f"{low} to {high}", found=value)
