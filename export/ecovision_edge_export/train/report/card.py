"""The model card of a training: recipe, data, the table of epochs, accuracy by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.markdown import plain, table
from ecovision_edge.base.stats import wilson_interval
from ecovision_edge_export.card.training import training_lines
from ecovision_edge_export.train.core.terms import EpochRow
from ecovision_edge_export.train.recipes import QAT
from ecovision_edge_export.weights.preprocessing import Preprocessing

__all__ = ["write_average_card", "write_training_card"]


def write_training_card(
    name: str,
    labels: Sequence[str],
    prepared: Preprocessing,
    history: Sequence[EpochRow],
    facts: Mapping[str, JsonValue],
) -> str:
    """Return the text of MODEL_CARD.md of a training.

    Args:
        name: Of the folder.
        labels: Of the classes, in the order of the output.
        prepared: How photographs were prepared.
        history: All epochs.
        facts: As `training_facts` gives them.
    """
    init = cast("Mapping[str, JsonValue]", facts["init"])
    data = cast("Mapping[str, Mapping[str, JsonValue]]", facts["data"])
    recipe = cast("Mapping[str, JsonValue]", facts["recipe"])
    unit = f" {recipe['lr_unit']}" if "lr_unit" in recipe else ""
    lines = [
        f"# {plain(name)}",
        "",
        f"torchvision's `mobilenet_v3_large`, trained to tell {len(labels)} classes apart: "
        f"{', '.join(map(plain, labels))}.",
        "",
        f"- Started from: {plain(str(init['source']))}, classifier {init['head']}.",
        f"- Recipe: `{recipe['name']}`, {recipe['trained']}: {recipe['optimizer']}, learning rate "
        f"{recipe['lr']}{unit}, batches of {recipe['batch']}, {facts['epochs']} "
        f"epoch{'' if facts['epochs'] == 1 else 's'}, {recipe['loss']}{_more(recipe)}.",
        f"- Photographs: {data['train']['photographs']} to train on, {data['validation']['photographs']} to "
        f"validate on ({plain(str(data['split']))}); {data['skipped_files']} could not be read.",
        f"- Input: {prepared.size[0]} x {prepared.size[1]} pixels, `{prepared.resize}`, mean "
        f"{prepared.mean}, standard deviation {prepared.std}.",
        _kept(facts),
        *_orientation(facts),
        *_taught(cast("Mapping[str, JsonValue] | None", facts.get("distillation"))),
        *_flattered(data["validation"]),
        "",
        "## Training",
        "",
        *table([["epoch", "train loss", "train accuracy", "val loss", "val accuracy"], *map(_row, history)]),
        "",
        "![Curves](curves.png)",
        "",
        "## Accuracy by class",
        "",
        *_classes(facts, "last" if recipe["name"] == QAT else "best"),
        "",
        "## Use",
        "",
        "```sh",
        "ecovision-edge export --weights . --calib PHOTOGRAPHS --val OTHER_PHOTOGRAPHS --out BUNDLE",
        "```",
        "",
        "## All that is known",
        "",
        *training_lines(facts),
        "",
    ]
    return "\n".join(lines)


def write_average_card(
    name: str, labels: Sequence[str], prepared: Preprocessing, facts: Mapping[str, JsonValue]
) -> str:
    """Return the text of MODEL_CARD.md of an average of trainings.

    Args:
        name: Of the folder.
        labels: Of the classes, in the order of the output.
        prepared: How photographs were prepared.
        facts: As `average_trainings` gives them.
    """
    data = cast("Mapping[str, Mapping[str, JsonValue]]", facts["data"])
    recipe = cast("Mapping[str, JsonValue]", facts["recipe"])
    rows = cast("Sequence[Mapping[str, JsonValue]]", facts["averaged"])
    body = [
        [plain(str(r["name"])), _percent(r["share"]), _percent(r["val_accuracy"]), f"{r['val_loss']:.4f}"]
        for r in rows
    ]
    body.append(["their average", "", _percent(facts["val_accuracy"]), f"{facts['val_loss']:.4f}"])
    lines = [
        f"# {plain(name)}",
        "",
        f"torchvision's `mobilenet_v3_large`, trained to tell {len(labels)} classes apart: "
        f"{', '.join(map(plain, labels))}. The mean of the weights of {len(rows)} trainings from one start, "
        "with BatchNorm's statistics estimated again.",
        "",
        f"- Recipe: `{recipe['name']}`.",
        f"- Input: {prepared.size[0]} x {prepared.size[1]} pixels, `{prepared.resize}`, mean "
        f"{prepared.mean}, standard deviation {prepared.std}.",
        *_orientation(facts),
        *_flattered(data["validation"]),
        "",
        *table([["weights", "share", "val accuracy", "val loss"], *body]),
        "",
        "## Accuracy by class",
        "",
        *_classes(facts, None),
        "",
        "## All that is known",
        "",
        *training_lines(facts),
        "",
    ]
    return "\n".join(lines)


def _percent(value: JsonValue) -> str:
    return f"{100 * value:.2f} %" if isinstance(value, float) else "-"


def _kept(facts: Mapping[str, JsonValue]) -> str:
    recipe = cast("Mapping[str, JsonValue]", facts["recipe"])
    if recipe["name"] == QAT:
        return (
            f"- `best.safetensors` holds the weights of the last epoch, {facts['best_epoch']}, whatever its "
            "accuracy; accuracies are those of int8, all of it. The training's loss is a divergence, that of "
            "validation a cross entropy: they do not compare."
        )
    mixed = (
        " Losses and accuracies of the training are those of photographs as the recipe changed them."
        if recipe.get("augmentation") or recipe.get("views") or recipe.get("mixup")
        else ""
    )
    if "distillation" in facts:
        mixed += (
            " The training's loss holds the divergence from its teachers, that of validation is cross "
            "entropy alone: they do not compare."
        )
    return (
        f"- Best epoch: {facts['best_epoch']}, whose weights `best.safetensors` holds: that of the highest "
        "validation accuracy, of equals that of the lowest loss. It was chosen on the photographs that its "
        f"accuracy is given of, which flatters it a little.{mixed}"
    )


def _more(recipe: Mapping[str, JsonValue]) -> str:
    """Return what a recipe does beside the plain one, in words; the table of all facts has the numbers."""
    parts = [
        f"smoothed by {recipe['smoothing']}" if recipe["smoothing"] else "",
        _mixup(recipe),
        f"{recipe['schedule']} schedule" if recipe["schedule"] != "constant" else "",
        f"averaged weights, decay {recipe['ema']}" if recipe["ema"] else "",
        "several sizes" if recipe["sizes"] != [[1.0, [1.0]]] else "",
        "augmentation for cameras" if recipe["augmentation"] else "",
        "views in any orientation on any ground" if recipe["views"] else "",
    ]
    return "".join(f", {part}" for part in parts if part)


def _orientation(facts: Mapping[str, JsonValue]) -> list[str]:
    """Return what it was trained for, and what came of it at four turns."""
    said = {
        "any": "Trained for **any orientation**",
        "upright": "Trained on upright photographs: things that lie turned are told less well",
    }.get(str(facts["turns"]), "Whether its start was trained for any orientation is not known")
    recipe = cast("Mapping[str, JsonValue]", facts["recipe"])
    judged = (
        "; each validation photograph is judged without its grey bars, at one of the four quarter turns"
        if recipe["turned"]
        else ""
    )
    return [f"- {said}{judged}.", *_turned(cast("Mapping[str, JsonValue] | None", facts.get("turned")))]


def _turned(turned: Mapping[str, JsonValue] | None) -> list[str]:
    if turned is None:
        return []
    sides = [("as they are", "as_published")]
    if turned["with_grey_bars"]:
        sides.append(("without their grey bars", "bars_stripped"))
    lines = []
    for words, key in sides:
        side = cast("Mapping[str, JsonValue]", turned[key])
        upright = cast("Sequence[Mapping[str, JsonValue]]", side["by_turn"])[0]["accuracy"]
        lines.append(
            f"- {turned['photographs']} validation photographs {words}: {_percent(upright)} upright, "
            f"{_percent(side['mean'])} in the mean of 4 turns, {_percent(side['worst'])} at worst."
        )
    return lines


def _mixup(recipe: Mapping[str, JsonValue]) -> str:
    if not recipe["mixup"]:
        return ""
    share = f" of {recipe['mixup_p']} of the batches" if recipe["mixup_p"] != 1.0 else ""
    return f"mixup {recipe['mixup']}{share}"


def _taught(distillation: Mapping[str, JsonValue] | None) -> list[str]:
    """Whose answers it learned, and what is known of them."""
    if distillation is None:
        return []
    teachers = cast("Sequence[Mapping[str, JsonValue]]", distillation["teachers"])
    names = [f"{plain(str(t['name']))} (sha256 {str(t['sha256'])[:16]})" for t in teachers]
    mean = "the mean of their answers" if len(teachers) > 1 else "its answers"
    lines = [
        f"- Learned from {len(teachers)} teacher{'s' if len(teachers) > 1 else ''}, {', '.join(names)}: "
        f"{mean} to the same inputs, at temperature {distillation['temperature']}, are "
        f"{distillation['weight']} of the loss."
    ]
    unknown = [plain(str(t["name"])) for t in teachers if t["trained_on"] != "known"]
    if unknown:
        lines.append(
            f"- Which photographs {', '.join(unknown)} {'were' if len(unknown) > 1 else 'was'} trained on is "
            "not known: if validation photographs are among them, the accuracies below are flattered."
        )
    return lines


def _flattered(validation: Mapping[str, JsonValue]) -> list[str]:
    trained = validation["trained_on"]
    if not trained:
        return []
    return [
        f"- {trained} of the {validation['photographs']} validation photographs were trained on, in this "
        "training or in one before it: **all accuracies below are flattered**."
    ]


def _row(row: EpochRow) -> list[str]:
    return [
        str(row.epoch),
        f"{row.train_loss:.4f}",
        f"{100 * row.train_accuracy:.2f} %",
        f"{row.val_loss:.4f}",
        f"{100 * row.val_accuracy:.2f} %",
    ]


def _classes(facts: Mapping[str, JsonValue], epoch: str | None) -> list[str]:
    """Return the table, with Wilson's interval of each class and of all."""
    rows = cast("Sequence[Mapping[str, JsonValue]]", facts["classes"])
    counted = [(str(r["label"]), cast("int", r["correct"]), cast("int", r["incorrect"])) for r in rows]
    total = ("all", sum(c for _, c, _ in counted), sum(i for _, _, i in counted))
    body = []
    for label, correct, incorrect in (*counted, total):
        images = correct + incorrect
        low, high = wilson_interval(correct, images)
        share = f"{100 * correct / images:.2f} % [{100 * low:.1f}, {100 * high:.1f}]" if images else "-"
        body.append([plain(label), str(correct), str(incorrect), share])
    when = f", in the {epoch} epoch" if epoch else ""
    return [
        f"Of the validation photographs{when} [Wilson's 95 % interval].",
        "",
        *table([["class", "correct", "incorrect", "accuracy"], *body]),
    ]
