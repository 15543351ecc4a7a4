"""Files that are damaged, or made to harm whoever opens them."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import random

import pytest
import torch

from elucidiff.interop import nvlabs
from elucidiff.interop.pickle_data import read
from tests.golden_files import GOLDEN, load

SNAPSHOT = GOLDEN / "j_pickles/ncsnpp.pkl"


class Calls:
    """Pickles to a call of ``function(*arguments)``."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def refused(path, match):
    with pytest.raises(ValueError, match=match) as error:
        nvlabs.load(path)
    assert str(error.value).startswith(f"cannot read {path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, r"(posix|nt)\.system"), (eval, r"(__builtin__|builtins)\.eval"), (open, r"\.open")],
)
def test_a_call_of_anything_else_is_refused_by_name(tmp_path, protocol, function, name):
    marker = tmp_path / "ran"
    argument = {os.system: f"touch {marker}", eval: f"open({str(marker)!r}, 'w')", open: str(marker)}[function]
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"ema": Calls(function, argument, *(["w"] if function is open else []))}, protocol))
    refused(path, f"the pickle names '.*{name}', which is not allowed: nothing was run")
    assert not marker.exists()


def test_a_call_inside_a_tensor_is_refused(tmp_path):
    marker = tmp_path / "ran"
    inner = io.BytesIO()
    torch.save(Calls(os.system, f"touch {marker}"), inner, _use_new_zipfile_serialization=False)
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"ema": Calls(torch.storage._load_from_bytes, inner.getvalue())}, 4))
    refused(path, r"a tensor in it cannot be read \(UnpicklingError\)")
    assert not marker.exists()


def test_program_text_is_not_run(tmp_path):
    marker = tmp_path / "ran"
    text = f"open({str(marker)!r}, 'w')".encode()
    empty = b"module_src\x94\x8c\x00\x94"
    data = SNAPSHOT.read_bytes()
    assert data.count(empty) == 1  # later objects refer to the same text
    path = tmp_path / "with_text.pkl"
    path.write_bytes(data.replace(empty, b"module_src\x94\x8c" + bytes([len(text)]) + text + b"\x94"))
    ours, theirs = nvlabs.load(path).network.state_dict(), nvlabs.load(SNAPSHOT).network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not marker.exists()


def test_truncated_files(tmp_path):
    data = SNAPSHOT.read_bytes()
    path = tmp_path / "short.pkl"
    for length in (0, 1, 1000, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        refused(path, "the pickle is truncated or damaged")


def test_damaged_files_give_one_line_or_a_network(tmp_path):
    data = SNAPSHOT.read_bytes()
    instructions = [position for _, _, position in pickletools.genops(data)]
    draw = random.Random(0)
    path = tmp_path / "damaged.pkl"
    refusals = []
    for _ in range(15):
        damaged = bytearray(data)
        damaged[min(len(data) - 1, draw.choice(instructions) + draw.randrange(3))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            nvlabs.load(path)
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > 5
    assert not any("\n" in refusal for refusal in refusals)


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        nvlabs.load(tmp_path / "none.pkl")
    with pytest.raises(ValueError, match="there is no network 'net' in it, only: ema, loss_fn, augment_pipe"):
        nvlabs.load(SNAPSHOT, key="net")
    path = tmp_path / "list.pkl"
    path.write_bytes(pickle.dumps([1, 2]))
    refused(path, "there is no network 'ema' in it, only: list")


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


def network_case():
    case, tensors = load("e_networks/ncsnpp_a")
    return case, {name.removeprefix("param/"): value for name, value in tensors.items() if name.startswith("param/")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("map_layer0.weight"), "the weights lack map_layer0.weight$"),
        (lambda w: [w.pop(name) for name in list(w) if "norm0.bias" in name], "lack .*, .*, .* and 7 more"),
        (lambda w: w.update(extra=torch.zeros(1)), "the weights have, unexpectedly, extra$"),
        (lambda w: w["map_layer0.bias"].fill_(float("nan")), "the weights map_layer0.bias are not all finite"),
        (lambda w: w["map_layer0.bias"].fill_(float("inf")), "the weights map_layer0.bias are not all finite"),
        (lambda w: w.update({"map_layer0.bias": torch.zeros(65)}), r"map_layer0.bias of shape \(65,\) do not fit"),
        (lambda w: w["enc.4x4_down.skip.resample_filter"].fill_(0.25), "are not the filter .1, 3, 3, 1. of"),
    ],
)
def test_weights_that_do_not_fit(change, message):
    case, weights = network_case()
    change(weights)
    with pytest.raises(ValueError, match=message) as error:
        nvlabs.from_state_dict(case["cls"], case["kwargs"], weights)
    assert "\n" not in str(error.value)


def test_settings_that_do_not_fit():
    case, weights = network_case()
    with pytest.raises(ValueError, match="network class 'UNet' is unknown: choose one of SongUNet, DhariwalUNet"):
        nvlabs.from_state_dict("UNet", case["kwargs"], weights)
    with pytest.raises(ValueError, match="SongUNet has no argument 'width'"):
        nvlabs.from_state_dict("SongUNet", {**case["kwargs"], "width": 1}, weights)
    with pytest.raises(ValueError, match="the arguments of SongUNet lack 'img_resolution'"):
        nvlabs.from_state_dict("SongUNet", {"in_channels": 3}, weights)
