"""Reading a pickle as data: an interpreter of the format that can neither import nor call what the file names.

The bytes of a pickle are a program for a small stack machine, and Python's own machine calls whatever function the
program names. This one follows the same instructions, but a name that is not on the caller's list stops it, and a
name on the list stands for the caller's own function, which makes plain data from its arguments.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Makers = Mapping[str, Callable[..., Any]]
"""From "module name", as the file names a function or class, to the function that takes its place."""


@dataclass
class Record:
    """An object that the file describes: what it is, the arguments it was made with, and the state it was given."""

    kind: str
    arguments: tuple[Any, ...] = ()
    state: Any = None


@dataclass(frozen=True)
class _Name:
    """A function or class that the file names."""

    name: str


class _Mark:
    """Where a run of items on the stack begins."""


# Instructions whose argument, as pickletools decodes it, is the value to push.
_LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"}
_LITERALS |= {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_CONTAINERS: dict[str, type] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": set}
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = {"PROTO", "FRAME"}


def read(data: bytes, makers: Makers) -> Any:
    """The object in a pickle of protocol 2 to 4.

    Args:
        data: the pickle.
        makers: the names that may occur, with what stands for each.

    Raises:
        ValueError: the data are truncated or damaged, use an instruction that plain objects do not need, or name a
            function or class that is not among ``makers``. The message gives the name.
    """
    machine = _Machine(makers)
    try:
        for name, argument in _instructions(data):
            if name == "STOP":
                return machine.stack.pop()
            machine.step(name, argument)
    except (LookupError, TypeError, AttributeError, OverflowError, RuntimeError) as error:
        raise ValueError(f"the pickle is damaged ({error!r})") from error
    raise ValueError("the pickle is truncated")


def _instructions(data: bytes) -> Iterator[tuple[str, Any]]:
    try:
        for instruction, argument, _ in pickletools.genops(io.BytesIO(data)):
            yield instruction.name, argument
    except ValueError as error:
        raise ValueError(f"the pickle is truncated or damaged: {error}") from error


@dataclass
class _Machine:
    """The stack machine: what is on the stack, and what was stored to be used again."""

    makers: Makers
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        stack = self.stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _CONTAINERS:
            stack.append(_CONTAINERS[name]())
        elif name in _SHORT_TUPLES:
            length = _SHORT_TUPLES[name]
            stack[-length:] = [tuple(stack[-length:])]
        elif name not in _IGNORED:
            self._step_other(name, argument)

    def _step_other(self, name: str, argument: Any) -> None:
        stack, memo = self.stack, self.memo
        match name:
            case "MARK":
                stack.append(_Mark())
            case "TUPLE":
                stack.append(tuple(self._pop_to_mark()))
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "APPENDS":
                items = self._pop_to_mark()
                stack[-1].extend(items)
            case "ADDITEMS":
                items = self._pop_to_mark()
                stack[-1].update(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            case "SETITEMS":
                items = self._pop_to_mark()
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(self._name(argument))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(self._name(f"{module} {attribute}"))
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self.makers[function.name](*arguments))
            case "BUILD":
                state = stack.pop()
                if not isinstance(stack[-1], Record):
                    raise ValueError(f"the pickle gives a state to a {type(stack[-1]).__name__}")
                stack[-1].state = state
            case _:
                raise ValueError(f"the pickle uses the instruction {name}, which plain objects do not need")

    def _name(self, name: str) -> _Name:
        if name not in self.makers:
            raise ValueError(f"the pickle names {name.replace(' ', '.')!r}, which is not allowed: nothing was run")
        return _Name(name)

    def _pop_to_mark(self) -> list[Any]:
        """The items above the last mark, which is taken off the stack with them."""
        start = len(self.stack) - 1
        while not isinstance(self.stack[start], _Mark):  # without any mark, this ends in an IndexError
            start -= 1
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items
