"""Reading a pickle as data: an interpreter of the format that can neither import nor call what the file names.

The bytes of a pickle are a program for a small stack machine, and Python's own machine calls whatever function the
program names. This one follows the same instructions, but a name that is not on the caller's list stops it, and a
name on the list stands for the caller's own function, which makes plain data from its arguments.

Nor can a program of a few bytes make an object that is costly to look at. The number of instructions is bounded.
Keys are text and whole numbers, so nothing nested is ever hashed. Nothing changes after it has been put into
something else, so there are no circles, and for every object it is known how deep it is nested and how many objects
one meets who walks through it, those met twice counted twice. Both are bounded: whoever prints, compares, copies or
deletes what was read is safe from deep recursion and from structures that share their parts over and over.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, cast

from elucidiff.untrusted import clipped

Makers = Mapping[str, Callable[..., Any]]
"""From "module name", as the file names a function or class, to the function that takes its place."""

MOST_INSTRUCTIONS = 500_000
"""Instructions of a pickle: ten times those of the largest published network."""
MOST_DEPTH = 100
"""Objects within objects."""
MOST_OBJECTS = 2_000_000
"""Objects that a walk through an object meets."""

_BY_CODE = {instruction.code: instruction for instruction in pickletools.opcodes}
_MOST_BITS = 128
_MOST_LINE = 1024
_LONG = 1024


@dataclass
class Record:
    """An object that the file describes: what it is, the arguments it was made with, and the state it was given."""

    kind: str
    arguments: tuple[Any, ...] = ()
    state: Any = None


@dataclass(frozen=True)
class Name:
    """A function or class that the file names."""

    name: str


class _Mark:
    """The mark at which a run of items on the stack begins."""


@dataclass(slots=True)
class _Item:
    """Something on the stack, and how costly it is.

    Attributes:
        depth: how deep it is nested; 0 for what holds nothing.
        objects: how many objects a walk through it meets, with itself.
        used: whether it was put into something, after which it stays as it is.
    """

    value: Any
    depth: int = 0
    objects: int = 1
    used: bool = False

    def take(self, items: list[_Item]) -> None:
        """Account for ``items`` that are put into this one."""
        for item in items:
            item.used = True
            self.depth = max(self.depth, item.depth + 1)
            self.objects += item.objects
        if self.used:
            raise ValueError("the pickle changes an object that is part of another one already")
        if self.depth > MOST_DEPTH:
            raise ValueError(f"the pickle nests objects more than {MOST_DEPTH} deep")
        if self.objects > MOST_OBJECTS:
            raise ValueError(f"the pickle repeats its objects to more than {MOST_OBJECTS}")


# Instructions whose argument, as pickletools decodes it, is the value to push.
_LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"}
_LITERALS |= {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_CONTAINERS: dict[str, type] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": set}
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = {"PROTO", "FRAME"}
_OTHERS = {
    "MARK",
    "TUPLE",
    "APPEND",
    "APPENDS",
    "ADDITEMS",
    "SETITEM",
    "SETITEMS",
    "BUILD",
    "REDUCE",
    "NEWOBJ",
    "STOP",
}
_OTHERS |= {"MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "BINPERSID"}
_KNOWN = _LITERALS | _CONSTANTS.keys() | _CONTAINERS.keys() | _SHORT_TUPLES.keys() | _IGNORED | _OTHERS


def read(data: bytes | memoryview, makers: Makers) -> Any:
    """The object in a pickle of protocol 2 to 4.

    Args:
        data: the pickle. Long byte strings in it come out as views of it rather than as copies.
        makers: the names that may occur, with what stands for each.

    Raises:
        ValueError: the data are truncated or damaged, use an instruction that plain objects do not need, name a
            function or class that is not among ``makers`` (the message gives the name), or go beyond the bounds.
    """
    return read_next(memoryview(data), 0, makers)[0]


def read_next(
    data: memoryview,
    start: int,
    makers: Makers,
    persistent: Callable[[Any], Any] | None = None,
    most_instructions: int = MOST_INSTRUCTIONS,
) -> tuple[Any, int]:
    """The object in a pickle that begins at ``start``, and where the pickle ends.

    Args:
        data: bytes that hold it.
        start: the position of its first byte.
        makers: as for :func:`read`.
        persistent: from what the file says of an object that is kept outside of it, to that object.
        most_instructions: bound of their number.

    Raises:
        ValueError: as for :func:`read`.
    """
    machine = _Machine(makers, persistent)
    file = _Bytes(data, start)
    for count, (name, argument) in enumerate(_instructions(file)):
        if name == "STOP":
            return machine.pop().value, file.tell()
        if count >= most_instructions:
            raise ValueError(f"the pickle has more than {most_instructions} instructions")
        machine.step(name, argument)
    raise ValueError("the pickle is truncated")


class _Bytes:
    """Bytes as the file from which pickletools reads. Long runs of them are not copied."""

    def __init__(self, data: memoryview, start: int) -> None:
        self._data, self._at = data, start

    def read(self, length: int) -> bytes | memoryview:
        run = self._data[self._at : self._at + length]
        self._at += len(run)
        return run if len(run) > _LONG else bytes(run)

    def readline(self) -> bytes:
        line = bytes(self._data[self._at : self._at + _MOST_LINE])
        line = line[: line.find(b"\n") + 1] or line
        self._at += len(line)
        return line

    def tell(self) -> int:
        return self._at


def _instructions(file: _Bytes) -> Iterator[tuple[str, Any]]:
    """Name and argument of one instruction after the other; arguments of those that are not known are not decoded."""
    while True:
        code = bytes(file.read(1)).decode("latin-1")
        instruction = _BY_CODE.get(code)
        if instruction is None:
            raise ValueError(f"the pickle is truncated or damaged at byte {file.tell()}")
        if instruction.name not in _KNOWN:
            raise ValueError(f"the pickle uses the instruction {instruction.name}, which plain objects do not need")
        try:
            argument = instruction.arg.reader(cast("IO[bytes]", file)) if instruction.arg else None
        except (ValueError, OverflowError, MemoryError) as error:
            raise ValueError(f"the pickle is truncated or damaged: {clipped(str(error))}") from None
        yield instruction.name, argument


class _Machine:
    """The stack machine: what is on the stack, and what was stored to be used again."""

    def __init__(self, makers: Makers, persistent: Callable[[Any], Any] | None) -> None:
        self._makers, self._persistent = makers, persistent
        self._stack: list[_Item] = []
        self._memo: dict[int, _Item] = {}

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        if name in _LITERALS:
            if isinstance(argument, int) and argument.bit_length() > _MOST_BITS:
                raise ValueError(f"the pickle holds a number of {argument.bit_length()} bits")
            self._stack.append(_Item(argument))
        elif name in _CONSTANTS:
            self._stack.append(_Item(_CONSTANTS[name]))
        elif name in _CONTAINERS:
            self._stack.append(_Item(_CONTAINERS[name]()))
        elif name in _SHORT_TUPLES:
            self._push_tuple([self.pop() for _ in range(_SHORT_TUPLES[name])][::-1])
        elif name not in _IGNORED:
            self._step_other(name, argument)

    def _step_other(self, name: str, argument: Any) -> None:
        match name:
            case "MARK":
                self._stack.append(_Item(_Mark()))
            case "TUPLE":
                self._push_tuple(self._pop_to_mark())
            case "APPEND":
                self._extend([self.pop()])
            case "APPENDS":
                self._extend(self._pop_to_mark())
            case "ADDITEMS":
                self._add_to_set(self._pop_to_mark())
            case "SETITEM":
                value, key = self.pop(), self.pop()
                self._set_items([key, value])
            case "SETITEMS":
                self._set_items(self._pop_to_mark())
            case "MEMOIZE":
                self._memo[len(self._memo)] = self._top(object)
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self._top(object)
            case "BINGET" | "LONG_BINGET":
                if argument not in self._memo:
                    raise ValueError(f"the pickle is damaged: it takes up object {argument}, which it did not store")
                self._stack.append(self._memo[argument])
            case "GLOBAL":
                self._push_name(argument)
            case "STACK_GLOBAL":
                attribute, module = self.pop().value, self.pop().value
                if not (isinstance(module, str) and isinstance(attribute, str)):
                    raise ValueError("the pickle is damaged: a name in it is not text")
                self._push_name(f"{module} {attribute}")
            case "REDUCE" | "NEWOBJ":
                self._make()
            case "BUILD":
                state, record = self.pop(), self._top(Record)
                record.take([state])
                record.value.state = state.value
            case "BINPERSID" if self._persistent is not None:
                self._stack.append(_Item(self._persistent(self.pop().value), used=True))
            case _:
                raise ValueError(f"the pickle uses the instruction {name}, which plain objects do not need")

    def pop(self) -> _Item:
        """Take the last item off the stack."""
        item = self._top(object)
        del self._stack[-1]
        return item

    def _top(self, kind: type) -> _Item:
        if not self._stack or isinstance(self._stack[-1].value, _Mark):
            raise ValueError("the pickle is damaged: it takes more objects than it made")
        item = self._stack[-1]
        if not isinstance(item.value, kind):
            raise ValueError(f"the pickle is damaged: a {type(item.value).__name__} is not a {kind.__name__}")
        return item

    def _pop_to_mark(self) -> list[_Item]:
        """The items above the last mark, which is taken off the stack with them."""
        start = len(self._stack) - 1
        while start >= 0 and not isinstance(self._stack[start].value, _Mark):
            start -= 1
        if start < 0:
            raise ValueError("the pickle is damaged: it has no mark where a run of objects begins")
        items = self._stack[start + 1 :]
        del self._stack[start:]
        return items

    def _push_tuple(self, items: list[_Item]) -> None:
        whole = _Item(tuple(item.value for item in items))
        whole.take(items)
        self._stack.append(whole)

    def _extend(self, items: list[_Item]) -> None:
        whole = self._top(list)
        whole.take(items)
        whole.value.extend(item.value for item in items)

    def _add_to_set(self, items: list[_Item]) -> None:
        whole = self._top(set)
        whole.take(items)
        whole.value.update(_key(item.value) for item in items)

    def _set_items(self, items: list[_Item]) -> None:
        if len(items) % 2:
            raise ValueError("the pickle is damaged: a key has no value")
        whole = self._top(dict)
        whole.take(items)
        for key, value in zip(items[::2], items[1::2], strict=True):
            whole.value[_key(key.value)] = value.value

    def _push_name(self, name: str) -> None:
        if name not in self._makers:
            shown = clipped(name.replace(" ", "."))
            raise ValueError(f"the pickle names '{shown}', which is not allowed: nothing was run")
        self._stack.append(_Item(Name(name)))

    def _make(self) -> None:
        self._top(tuple)
        arguments, function = self.pop(), self.pop()
        if not isinstance(function.value, Name):
            raise ValueError(f"the pickle is damaged: it calls a {type(function.value).__name__}")
        try:
            value = self._makers[function.value.name](*arguments.value)
        except (LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
            name = function.value.name.replace(" ", ".")
            raise ValueError(
                f"the pickle is damaged: the arguments of {name} do not fit ({type(error).__name__})"
            ) from None
        made = _Item(value)
        made.take([arguments])
        made.used = any(value is argument for argument in arguments.value)
        self._stack.append(made)


def _key(value: Any) -> Any:
    """``value`` if it may be a key. Nested ones may take for ever to hash; large numbers can be made to collide."""
    if isinstance(value, str) or (isinstance(value, int) and value.bit_length() < 64):
        return value
    raise ValueError(f"the pickle uses a {type(value).__name__} as a key, where text or a number was expected")
