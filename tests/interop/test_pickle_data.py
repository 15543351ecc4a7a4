"""Pickles as data: plain objects, and programs made to cost whoever runs them."""

from __future__ import annotations

import pickle
import time

import pytest

from elucidiff.interop.pickle_data import MOST_INSTRUCTIONS, read
from tests.interop.pickles import START, text
from tests.mutations import outcomes


def test_plain_objects_are_read_as_python_reads_them():
    shared = [1, 2]
    value = {
        "numbers": (0, -1, 255, 70000, 2**40, -(2**70), 1.5, float("inf")),
        "text": ["", "é" * 300, b"", b"x" * 300],
        "nothing": (None, True, False, (), [], {}, set(), {1, 2}, (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "twice": (shared, shared),
        "long": list(range(3000)),
    }
    for protocol in (3, 4):
        names = {"builtins set": set} if protocol == 3 else {}
        again = read(pickle.dumps(value, protocol), names)
        assert again == value
        assert again["twice"][0] is again["twice"][1]


def test_damaged_pickles_give_one_line_or_an_object(tmp_path):
    value = {"a": [1, (2.5, "text", b"x" * 2000)], "b": {"c": {1, 2}, "d": (None, True)}, "e": ((), [], 2**40)}
    data = pickle.dumps(value, 4)

    def reader(path):
        try:
            repr(read(path.read_bytes(), {}))
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None

    found = outcomes(reader, tmp_path / "damaged.pkl", data, 600, places=range(len(data) - 1980))
    assert found.read > 20
    assert len(found.messages) > 200


SHARED = b")" + b"".join(b"\x94h" + bytes([n]) + b"\x86" for n in range(60))  # tuples of twice the one before
MAKE = text("collections") + text("OrderedDict") + b"\x93"


def empty():
    return {}  # and not `dict`, which takes arguments


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"}" + SHARED + b"Ns.", "repeats its objects to more than 2000000"),
        (b"\x8f(" + SHARED + b"\x90.", "repeats its objects"),
        (b"}" + b")" + b"\x85" * 300_000 + b"Ns.", "nests objects more than 100 deep"),
        (b"]" * 300_000 + b"a" * 299_999 + b".", "nests objects more than 100 deep"),
        (b"}" + b")" + b"\x85" * 3 + b"Ns.", "uses a tuple as a key"),
        (b"}" + text("a") + b"}()\x85Nus.", "uses a tuple as a key"),
        (b"}]Ns.", "uses a list as a key"),
        (b"}\x8a\x09" + b"\x01" * 9 + b"Ns.", "uses a int as a key"),
        (b"\x8a\xff" + b"\x01" * 255 + b".", "a number of 2033 bits"),
        (b"\x8b\xff\xff\xff\x7f" + b"1" * 100, "truncated or damaged"),
        (b"\x8d" + b"\xff" * 7 + b"\x7f.", "truncated or damaged"),
        (b"\x8e" + b"\xff" * 8 + b".", "truncated or damaged"),
        (b"X\xff\xff\xff\xffabc.", "truncated or damaged"),
        (b"]\x94h\x00a.", "changes an object that is part of another one"),
        (b"]\x94]\x94h\x00ah\x00h\x01a.", "changes an object that is part of another one"),
        (b"](NNu.", "a list is not a dict"),
        (b"}NNu.", "it has no mark"),
        (b"}(Nu.", "a key has no value"),
        (b"]" + b"(" * 50 + b".", "takes more objects than it made"),
        (b"N" + b"\x86.", "takes more objects than it made"),
        (b"j\xff\xff\xff\xff.", "takes up object 4294967295, which it did not store"),
        (b"Nr\xff\xff\xff\xff0.", "the instruction POP,"),
        (b"N2.", "the instruction DUP,"),
        (b"\x82\x01.", "the instruction EXT1,"),
        (b"\x84\x01\x00\x00\x00.", "the instruction EXT4,"),
        (b"\x97.", "the instruction NEXT_BUFFER,"),
        (b"\x96" + b"\x00" * 8 + b".", "the instruction BYTEARRAY8,"),
        (b"N\x98.", "the instruction READONLY_BUFFER,"),
        (text("a") + b"Q.", "the instruction BINPERSID,"),
        (b"cos\n" + b"a" * 5000 + b"\n.", "truncated or damaged"),
        (b"I1\n.", "the instruction INT,"),
        (b"I" + b"1" * 5000 + b"\n.", "the instruction INT,"),
        (b"S'" + b"a" * 5000 + b"'\n.", "the instruction STRING,"),
        (b"cos\nsystem\n.", r"names 'os\.system', which is not allowed"),
        (b"(i" + b"os\nsystem\n.", "the instruction INST,"),
        (b"]" + text("a") + b"\x93.", "a name in it is not text"),
        (SHARED + SHARED[:-1] + b"\x93.", "repeats its objects|a name in it is not text"),
        (MAKE + b")R(Nu.", "a key has no value"),
        (MAKE + b"](" + b")N\x86e\x85R.", "the arguments of collections.OrderedDict do not fit"),
        (text("a") + b")R.", "calls a str"),
        (b")" + b")R.", "calls a tuple"),
        (b"}N" + b"b.", "a dict is not a Record"),
        (b"N" * (MOST_INSTRUCTIONS + 2) + b".", "more than 500000 instructions"),
        (b"\x95" + b"\xff" * 8 + b"Q", "the instruction BINPERSID|takes more"),
    ],
)
def test_programs_that_cost_more_than_they_say(program, message):
    begun = time.monotonic()
    with pytest.raises(ValueError, match=message) as error:
        read(START + program, {"collections OrderedDict": empty})
    assert len(str(error.value)) < 300
    assert str(error.value).isprintable()
    assert time.monotonic() - begun < 10
