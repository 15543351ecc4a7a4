"""Examples in the docstrings of public names: each name has one, and they run as they stand there."""

from __future__ import annotations

import doctest
import importlib
import inspect
from collections.abc import Iterator

import pytest
import torch

import elucidiff as ed
from elucidiff import parts

ROOMS = [name for name in ed.__all__ if inspect.ismodule(getattr(ed, name))]


def public() -> dict[str, object]:
    """Public classes and functions, by the name under which they are reached."""
    found = {name: getattr(ed, name) for name in ed.__all__ if name not in ROOMS}
    for room in ROOMS:
        module = getattr(ed, room)
        found |= {f"{room}.{name}": getattr(module, name) for name in getattr(module, "__all__", ())}
    return {name: value for name, value in found.items() if inspect.isclass(value) or inspect.isfunction(value)}


PUBLIC = public()


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELUCIDIFF_DATA", str(tmp_path_factory.getbasetemp() / "data"))
        yield
    for kind in parts.registry.PARTS.values():
        for name in [name for name, cls in kind.items() if "example" in name or name == "plain_euler"]:
            del kind[name]


@pytest.mark.parametrize("room", ROOMS)
def test_a_public_room_states_its_names(room: str) -> None:
    module = getattr(ed, room)
    assert module.__all__
    for name in module.__all__:
        assert hasattr(module, name), name


def test_docstrings_begin_with_a_noun_phrase_or_a_verb() -> None:
    questions = ("What ", "Which ", "How ", "Whether ", "When ", "Where ", "Who ")
    assert [name for name, value in PUBLIC.items() if (value.__doc__ or "").startswith(questions)] == []


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_has_an_example_that_runs(name: str) -> None:
    value = PUBLIC[name]
    module = importlib.import_module(str(getattr(value, "__module__", "elucidiff")))
    names = {**vars(module), "ed": ed, "torch": torch}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    for test in doctest.DocTestFinder().find(value, name, module=module, globs=names):
        runner.run(test, out=said.append)
    assert runner.tries, f"{name} has no example (>>>) in its docstring"
    assert not runner.failures, "".join(said)
