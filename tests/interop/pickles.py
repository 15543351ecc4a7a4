"""Pickles made by hand: those of snapshots name functions that are not on this machine."""

from __future__ import annotations

import pickle

START = b"\x80\x04"
_NAMES = {"Persistent": ("torch_utils.persistence", "_reconstruct_persistent_obj")}


class Persistent:
    """An object of the reference's, by the dict that describes it."""

    def __init__(self, described):
        self.described = described


def pickled(value):
    """A whole pickle."""
    return START + _program(value) + b"."


def text(value):
    """The instruction that pushes a text."""
    content = value.encode()
    return b"X" + len(content).to_bytes(4, "little") + content


def name_of(kind):
    """The instructions that push the function which makes such an object."""
    module, name = _NAMES[kind.__name__]
    return text(module) + text(name) + b"\x93"


def _program(value):
    match value:
        case Persistent():
            return name_of(Persistent) + _program((value.described,)) + b"R"
        case str():
            return text(value)
        case tuple():
            return b"(" + b"".join(map(_program, value)) + b"t"
        case list():
            return b"](" + b"".join(map(_program, value)) + b"e"
        case dict():
            return b"}(" + b"".join(_program(entry) for item in value.items() for entry in item) + b"u"
        case _:
            return pickle.dumps(value, 3)[2:-1]
