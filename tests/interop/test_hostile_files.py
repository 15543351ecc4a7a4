"""Files that are damaged, or made to harm whoever opens them."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import time

import pytest
import torch

from elucidiff.interop import nvlabs
from elucidiff.interop.torch_storage import Storage, StoredTensor, StoredWeights
from tests.golden_files import GOLDEN, load
from tests.interop.pickles import START, Persistent, name_of, pickled, text
from tests.mutations import outcomes

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
    with pytest.raises(ValueError, match=r"the pickle names 'posix.system', which is not allowed: nothing was run"):
        Storage(inner.getvalue()).values()
    assert not marker.exists()
    path = tmp_path / "evil.pkl"
    path.write_bytes(SNAPSHOT.read_bytes().replace(b"torch\nFloatStorage", b"torch\nFloatStorbge"))
    refused(path, r"the weights .* cannot be read: the pickle names 'torch.FloatStorbge'")


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
    places = [position for _, _, position in pickletools.genops(data)]
    found = outcomes(nvlabs.load, tmp_path / "damaged.pkl", data, 15, places=places)
    assert len(found.messages) > 5


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        nvlabs.load(tmp_path / "none.pkl")
    with pytest.raises(ValueError, match="there is no network 'net' in it, only: ema, loss_fn, augment_pipe"):
        nvlabs.load(SNAPSHOT, key="net")
    path = tmp_path / "list.pkl"
    path.write_bytes(pickle.dumps([1, 2]))
    refused(path, "there is no network 'ema' in it, only: list")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_name": ["SongUNet"]}, "an object in it has no class name"),
        ({"class_name": "A\n\x1b[2J"}, r"network class 'A.n.x1b\[2J' is unknown"),
        ({"wrapper": "B" * 10_000}, r"preconditioning 'B{100}\.\.\.' is unknown"),
        ({"settings": {"num_blocks": 100_000}}, "1 levels of 100000 blocks each are too many for 0 weights"),
        ({"settings": {"num_blocks": "many"}}, "blocks_per_level of network ddpmpp is 'many', but must be"),
        ({"settings": {"num_blocks": 2**100}}, "blocks_per_level is out of range: a large int"),
        ({"settings": {"channel_mult": [1] * 70}}, "channel_multipliers has 70 values"),
        ({"settings": {"channel_mult": [[1]]}}, "channel_multipliers is out of range: a large list"),
        ({"settings": {"model_channels": float("nan")}}, "base_channels is out of range: nan"),
        ({"settings": {"img_resolution": 2**60}}, "sample_shape is out of range"),
        ({"settings": {"label_dim": -1}}, "label_dim must not be negative|too many for 0 weights"),
        (
            {"settings": {"label_dim": 1 << 24, "model_channels": 1 << 24}},
            "the weights lack|no network|too many for 0 weights",
        ),
        ({"settings": {"resample_filter": [1] * 65}}, "resample_filter has 65 values"),
        ({"settings": {"decoder_type": "x" * 65}}, "decoder is out of range: 'x+'"),
        ({"settings": {"a\x1bb": 1}}, r"SongUNet has no argument 'a\\x1bb'"),
        ({"settings": {"a" * 5000: 1}}, "SongUNet has no argument"),
        ({"parameters": {"w": 3}}, "the weights w are no tensor"),
        ({"parameters": {1: None}}, "is not laid out as in NVlabs/edm"),
        ({"modules": {"enc": 3}}, "the layer enc is no module"),
        ({"modules": {"a" * 1025: Persistent({"class_name": "x", "state": {}})}}, "layers within layers"),
        ({"given": {"sigma_min": "x"}}, "the setting sigma_min of the preconditioning is no number"),
        ({"given": {"sigma_data": float("nan")}}, "the setting sigma_data of the preconditioning is no number"),
        (
            {"wrapper": "iDDPMPrecond", "given": {"M": 10**9}},
            "m is 1000000000: .* at most 100000|too many for 0 weights",
        ),
        ({"wrapper": "VPPrecond", "given": {"M": 10**30}}, "the setting M of the preconditioning is no number"),
    ],
)
def test_a_description_costs_no_more_than_its_file(tmp_path, changes, message):
    begun = time.monotonic()
    refused(snapshot(tmp_path, **changes), message)
    assert time.monotonic() - begun < 10


def snapshot(tmp_path, class_name="SongUNet", wrapper="EDMPrecond", settings=(), parameters=(), modules=(), given=()):
    """A snapshot of a network of one level, without its weights."""
    state = {
        "_init_args": (),
        "_init_kwargs": {"img_resolution": 8, "in_channels": 1, "model_channels": 4, "channel_mult": [1]}
        | dict(settings),
        "_parameters": dict(parameters),
        "_buffers": {},
        "_modules": dict(modules),
    }
    model = Persistent({"class_name": class_name, "state": state})
    path = tmp_path / "made.pkl"
    outer = {"_modules": {"model": model}} | dict(given)
    path.write_bytes(pickled({"ema": Persistent({"class_name": wrapper, "state": outer})}))
    return path


def test_layers_that_share_their_parts(tmp_path):
    layer = Persistent({"class_name": "x", "state": {"_parameters": {}, "_buffers": {}, "_modules": {}}})
    content = pickled(layer)[len(START) : -1]
    for _ in range(40):  # each layer holds the one before twice
        twice = text("a") + b"h\x00" + text("b") + b"h\x00"
        state = text("_parameters") + b"}" + text("_buffers") + b"}" + text("_modules") + b"}(" + twice + b"u"
        described = text("class_name") + text("x") + text("state") + b"}(" + state + b"u"
        content += b"q\x00" + name_of(Persistent) + b"}(" + described + b"u\x85R"
    path = tmp_path / "made.pkl"
    path.write_bytes(START + b"}" + text("ema") + content + b"s.")
    refused(path, "repeats its objects to more than|nests objects more than")


@pytest.mark.parametrize(
    ("offset", "size", "stride", "message"),
    [
        (0, (24576, 6144), (0, 0), "is larger than its storage"),
        (0, (2, 3), (0, 1), "is larger than its storage"),
        (0, (4, 4), (1, 1), "is larger than its storage"),
        (3, (10,), (1,), "is larger than its storage"),
        (0, (13,), (1,), "is larger than its storage"),
        (0, (2**62, 2**62), (1, 1), "has the shape"),
        (0, (12,), (-1,), "has the shape"),
        (-1, (12,), (1,), "has the shape"),
        (0, (12,), (1, 1), "has the shape"),
        (0, (1,) * 9, (1,) * 9, "has the shape"),
        (0, (2.0,), (1,), "is no view of a storage"),
        (0, (True,), (1,), "is no view of a storage"),
    ],
)
def test_tensors_are_no_larger_than_their_storage(offset, size, stride, message):
    with pytest.raises(ValueError, match=message):
        StoredTensor(storage(torch.arange(12.0)), offset, size, stride).tensor()


def test_tensors_are_views_of_their_storage():
    values = torch.arange(12.0)
    for dtype in (torch.float32, torch.float16, torch.float64, torch.bfloat16):
        content = storage(values.to(dtype))
        assert torch.equal(StoredTensor(content, 0, (3, 4), (1, 3)).tensor(), values.to(dtype).view(4, 3).T)
        assert torch.equal(StoredTensor(content, 5, (2,), (6,)).tensor(), values.to(dtype)[5::6])
        assert StoredTensor(content, 7, (), ()).tensor().item() == 7
        assert StoredTensor(content, 0, (0, 4), (4, 1)).tensor().shape == (0, 4)
    with pytest.raises(ValueError, match=r"names 'torch\.LongStorage'"):
        StoredTensor(storage(torch.arange(12)), 0, (12,), (1,)).tensor()


def test_weights_that_share_their_values_are_no_larger_than_the_file():
    tensor = StoredTensor(storage(torch.zeros(1000)), 0, (1000,), (1,))
    size = len(tensor.storage.content)
    assert len(StoredWeights({"a": tensor, "b": tensor}, size)) == 2  # halves would take twice their room
    with pytest.raises(ValueError, match="larger than the file"):
        StoredWeights({str(number): tensor for number in range(3)}, size)


def test_damaged_storages_give_one_line_or_values(tmp_path):
    content = bytes(storage(torch.arange(12.0)).content)

    def reader(path):
        try:
            StoredTensor(Storage(path.read_bytes()), 0, (12,), (1,)).tensor()
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None

    found = outcomes(reader, tmp_path / "storage", content, 600)
    assert found.read > 20
    assert len(found.messages) > 200


def storage(values):
    """All values of a tensor, as PyTorch puts them into a pickle."""
    kind = torch.TypedStorage(wrap_storage=values.untyped_storage(), dtype=values.dtype, _internal=True)
    file = io.BytesIO()
    torch.save(kind, file, _use_new_zipfile_serialization=False)
    return Storage(file.getvalue())


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
        (lambda w: w["enc.4x4_down.skip.resample_filter"].fill_(0.25), "are not the filter .1.0, 3.0, 3.0, 1.0. of"),
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
    with pytest.raises(ValueError, match="network class 'ResNet' is unknown: choose one of SongUNet, DhariwalUNet"):
        nvlabs.from_state_dict("ResNet", case["kwargs"], weights)
    with pytest.raises(ValueError, match="SongUNet has no argument 'width'"):
        nvlabs.from_state_dict("SongUNet", {**case["kwargs"], "width": 1}, weights)
    with pytest.raises(ValueError, match="the arguments of SongUNet lack 'img_resolution'"):
        nvlabs.from_state_dict("SongUNet", {"in_channels": 3}, weights)
