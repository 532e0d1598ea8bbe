"""Facts about the tree of errors."""

import copy
import pickle
import re

import pytest

from ecovision_edge import errors
from ecovision_edge.errors import EcovisionError

CLASSES = {n: c for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, Exception)}
LEAVES = [c for c in CLASSES.values() if not any(o is not c and issubclass(o, c) for o in CLASSES.values())]


def drawn_tree():
    """(name, parent, standard type) of each line of the tree in the module's docstring."""
    rows, stack = [], ["EcovisionError"]
    for line in errors.__doc__.splitlines():
        match = re.match(r"\s*([│ ]*)[├└]── (\w+)(?: \((\w+)\))?", line)
        if match:
            depth = len(line[: line.index("──")].strip("\n")) // 4
            del stack[depth:]
            rows.append((match[2], stack[-1], match[3]))
            stack.append(match[2])
    return rows


def test_all_names_every_error_and_nothing_else():
    """`__all__` is the errors that are defined, sorted."""
    assert list(errors.__all__) == sorted(CLASSES)


def test_the_drawn_tree_is_the_real_one():
    """The docstring's tree says each error's parent and standard type as they are."""
    rows = drawn_tree()
    assert {name for name, _, _ in rows} == set(CLASSES) - {"EcovisionError"}
    for name, parent, standard in rows:
        own = CLASSES[name].__bases__
        assert own[0].__name__ == parent, name
        assert [c.__name__ for c in own[1:]] == ([standard] if standard else []), name


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda c: c.__name__)
def test_every_leaf_is_also_a_standard_error(leaf):
    """`except ValueError` and the like work too."""
    standard = [c for c in leaf.__mro__ if c.__module__ == "builtins"]
    assert {c.__name__ for c in standard} - {"object", "BaseException", "Exception"}


@pytest.mark.parametrize("kind", CLASSES.values(), ids=lambda c: c.__name__)
def test_the_message_is_problem_expected_found_fix(kind):
    """One line, in the order problem, expected, found, fix."""
    error = kind("the\nproblem", expected=(1, 2), found="x\r\n\ty", fix="do  this")
    assert str(error) == error.message == "the problem: expected (1, 2), found x y; do this"


def test_what_is_not_given_is_not_in_the_message():
    """Each of the three parts may be left out; a falsy value is still a value."""
    assert str(EcovisionError("p")) == "p"
    assert str(EcovisionError("p", expected=0)) == "p: expected 0"
    assert str(EcovisionError("p", found=0)) == "p: 0"
    assert str(EcovisionError("p", found="")) == "p: nothing"
    assert str(EcovisionError("p", expected="x", found=" ")) == "p: expected x, found nothing"
    assert str(EcovisionError("p", fix="f")) == "p; f"


@pytest.mark.parametrize("kind", CLASSES.values(), ids=lambda c: c.__name__)
def test_an_error_can_be_pickled_and_copied(kind):
    """It comes through a process pool as it was."""
    error = kind("p", expected=1, found=2, fix="f")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is kind
        assert str(other) == other.message == "p: expected 1, found 2; f"
        assert other.args == error.args


@pytest.mark.parametrize("kind", CLASSES.values(), ids=lambda c: c.__name__)
def test_the_exit_status_is_a_failed_check_misuse_or_try_later(kind):
    """1, 2, or 75 (EX_TEMPFAIL of sysexits.h): 0 is for success, the rest for the shell."""
    assert kind.exit_status in (1, 2, 75)


MISUSE = {
    *("BundleNotFoundError", "ArtifactNotFoundError", "FrameError", "FrameTypeError", "FrameValueError"),
    *("ImageReadError", "OptionError", "CheckpointError", "DatasetError", "SourceError"),
    "RulesError",
}


def test_misuse_is_what_the_caller_can_mend_by_asking_otherwise():
    """Status 2 belongs to these errors, status 1 to the rest, but for what may go well later."""
    assert {n for n, c in CLASSES.items() if c.exit_status == 2} == MISUSE
    assert {n for n, c in CLASSES.items() if c.exit_status == 75} == {
        "StoreError",
        "FetchError",
        "RestartError",
        "TryLaterError",
    }


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\x07", "\u202e", "\x00", "\ud800"])
def test_the_message_holds_no_control_characters(hostile):
    """A hostile file name cannot drive the terminal, or break the log, that shows the error."""
    assert EcovisionError(f"cannot read {hostile}x.png", found=hostile).message.isprintable()
