"""Facts about the public names."""

import ast
import importlib
import importlib.util
import inspect
import pkgutil
from pathlib import Path

import pytest

import ecovision_edge

REPOSITORY = Path(__file__).parents[2]
NEEDS = {"ecovision_edge.pins.gpiod_factory": "gpiod"}  # what cannot be imported without its extra
MODULES = sorted(
    m.name
    for m in pkgutil.walk_packages(ecovision_edge.__path__, "ecovision_edge.")
    if not any(part.startswith("_") for part in m.name.split("."))
    and importlib.util.find_spec(NEEDS.get(m.name, "ecovision_edge")) is not None
)


def defined(name):
    """Public classes and functions that a module's own text defines."""
    tree = ast.parse(inspect.getsource(importlib.import_module(name)))
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            yield node.name


@pytest.mark.parametrize("name", ["ecovision_edge", *MODULES])
def test_all_names_what_is_there(name):
    """Every name of `__all__` exists, and stands there once."""
    module = importlib.import_module(name)
    names = list(module.__all__)
    assert len(set(names)) == len(names)
    assert set(names) <= {name for name in names if hasattr(module, name)}


# Helpers that tests and sibling modules use, and that are promised to nobody.
INTERNAL = {
    *["ecovision_edge.bundle.manifest.check_file_name", "ecovision_edge.verify.compare_golden"],
    *["ecovision_edge.cli.app.Command"],
}


@pytest.mark.parametrize("name", [m for m in MODULES if ".preprocess." not in m])
def test_what_a_module_defines_in_public_is_in_all(name):
    """A class or function without an underscore is public, or is named here as internal."""
    module = importlib.import_module(name)
    assert {n for n in defined(name) if f"{name}.{n}" not in INTERNAL} <= set(module.__all__)


@pytest.mark.parametrize("name", ["ecovision_edge", *MODULES])
def test_public_names_have_docstrings(name):
    """Each class and function, and each public method and property of the classes defined here."""
    module = importlib.import_module(name)
    assert module.__doc__
    for public in module.__all__:
        thing = getattr(module, public)
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        assert inspect.getdoc(thing), public
        if inspect.isclass(thing) and thing.__module__ == name:
            for attribute, value in vars(thing).items():
                if not attribute.startswith("_") and (
                    inspect.isfunction(value) or isinstance(value, property)
                ):
                    assert inspect.getdoc(value), f"{public}.{attribute}"


def test_the_front_door_is_what_it_is():
    """A name more or less here is a decision, not an accident."""
    assert sorted(ecovision_edge.__all__, key=str.lower) == [
        *["__version__", "Bundle", "Classifier", "Contract", "EcovisionError", "Prediction"],
        *["Preprocessor", "read_image", "Timings", "verify_bundle", "VerifyReport"],
    ]


def test_the_front_door_names_what_it_loads_later():
    """`dir` and completion show every public name; any other name is an AttributeError."""
    assert set(ecovision_edge.__all__) <= set(dir(ecovision_edge))
    assert ecovision_edge.Classifier is importlib.import_module("ecovision_edge.classifier").Classifier
    with pytest.raises(AttributeError, match="no attribute 'Clasifier'"):
        ecovision_edge.Clasifier  # noqa: B018 - the lookup is what fails


def test_no_public_function_takes_any_keyword():
    """A misspelt option is a TypeError."""
    for name in MODULES:
        module = importlib.import_module(name)
        for public in module.__all__:
            thing = getattr(module, public)
            functions = [thing] if inspect.isfunction(thing) else []
            if inspect.isclass(thing) and thing.__module__ == name:
                functions = [
                    f for n, f in inspect.getmembers(thing, inspect.isroutine) if not n.startswith("_")
                ]
            for function in functions:
                if getattr(function, "__module__", None) == name:
                    kinds = [p.kind for p in inspect.signature(function).parameters.values()]
                    assert inspect.Parameter.VAR_KEYWORD not in kinds, function


@pytest.mark.slow
def test_the_public_api_type_checks(python, tmp_path):
    """`tests/typing/api.py`, which uses it as a user would, under mypy --strict."""
    pytest.importorskip("mypy", reason="mypy is not installed: pip install 'ecovision-edge[dev]'")
    ran = python(
        *["-m", "mypy", "--strict", "--warn-unused-ignores", "--no-error-summary"],
        *["--cache-dir", tmp_path, "--config-file", REPOSITORY / "pyproject.toml"],
        *["--explicit-package-bases", REPOSITORY / "tests" / "typing" / "api.py"],
        cwd=REPOSITORY,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout.decode() + ran.stderr.decode()
