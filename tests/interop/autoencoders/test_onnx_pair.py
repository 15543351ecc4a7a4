"""ONNX pairs: which files are found, what is computed, and what is refused before it is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

import elucidiff as ed
from elucidiff.interop.autoencoders.onnx_pair import OnnxPair, _Program
from tests.interop.autoencoders.made import decoder, encoder, write_pair
from tests.mutations import outcomes


@pytest.mark.parametrize("name", ["", "encoder.onnx", "decoder.onnx", "encoder.onnx,{}/decoder.onnx"])
def test_the_ways_to_name_a_pair(name: str, tmp_path: Path) -> None:
    pair = write_pair(tmp_path / "pair")
    found = ed.autoencoders.open_autoencoder(str(pair / name.format(pair)))
    assert found == OnnxPair(str(pair / "encoder.onnx"), str(pair / "decoder.onnx"))


def test_a_pair_as_optimum_exports_it(tmp_path: Path) -> None:
    pair = write_pair(tmp_path / "pair")
    for word in ("encoder", "decoder"):
        (tmp_path / "sd" / f"vae_{word}").mkdir(parents=True)
        (pair / f"{word}.onnx").rename(tmp_path / "sd" / f"vae_{word}" / "model.onnx")
    found = ed.autoencoders.open_autoencoder(tmp_path / "sd")
    assert isinstance(found, OnnxPair)
    assert found.decoder.endswith("vae_decoder/model.onnx")


def _clip(given: str, made: str, limits: tuple[float, float]) -> onnx.ModelProto:
    """Returns what it is given, between two limits."""
    sizes = ["b", 3, "h", "w"]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes) for name in (given, made)]
    stored = [
        helper.make_tensor(name, onnx.TensorProto.FLOAT, [], [limit])
        for name, limit in zip("lu", limits, strict=True)
    ]
    node = helper.make_node("Clip", [given, "l", "u"], [made])
    graph = helper.make_graph([node], "clip", ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize(("limits", "low"), [((0.0, 1.0), 0.0), ((-1.0, 0.0), -1.0)])
def test_the_range_of_pixels_is_the_one_in_which_pictures_come_back(
    limits: tuple[float, float], low: float, tmp_path: Path
) -> None:
    # In [-1, 1] the first would lose all that is dark; in [0, 1] the second would lose everything.
    onnx.save(_clip("image", "latent", limits), tmp_path / "encoder.onnx")
    onnx.save(_clip("latent", "image", limits), tmp_path / "decoder.onnx")
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pair = ed.autoencoders.open_autoencoder(tmp_path).suited_to(images)
    assert pair == OnnxPair(str(tmp_path / "encoder.onnx"), str(tmp_path / "decoder.onnx"), low)
    expected = images if low == 0 else images.clamp(max=0)
    torch.testing.assert_close(pair.decode(pair.encode(images)), expected)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (helper.make_node("Loop", ["", ""], ["x"], body=helper.make_graph([], "b", [], [])), "operator Loop"),
        (helper.make_node("Run", ["image"], ["x"], domain="com.mine"), "operator com.mine.Run"),
    ],
)
def test_operators_that_are_not_run(node: onnx.NodeProto, said: str, tmp_path: Path) -> None:
    pair = write_pair(tmp_path)
    model = encoder()
    model.graph.node.append(node)
    onnx.save(model, pair / "encoder.onnx")
    with pytest.raises(ValueError, match=f"holds the {said}, which is not run"):
        ed.autoencoders.latent_shape(ed.autoencoders.open_autoencoder(pair), (3, 8, 8))


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/passwd", "sub/inside.bin", "gone.bin", "link.bin", ""])
def test_weights_outside_of_the_folder_are_not_read(location: str, tmp_path: Path) -> None:
    pair = write_pair(tmp_path / "pair")
    (tmp_path / "outside.bin").write_bytes(bytes(4096))
    (pair / "sub").mkdir()
    (pair / "sub" / "inside.bin").write_bytes(bytes(4096))
    (pair / "link.bin").symlink_to(tmp_path / "outside.bin")
    model = encoder()
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    (pair / "encoder.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="which is no file beside it, and is not read"):
        ed.autoencoders.latent_shape(ed.autoencoders.open_autoencoder(pair), (3, 8, 8))


def test_weights_beside_the_program_are_read(tmp_path: Path) -> None:
    pair = write_pair(tmp_path)
    x = torch.rand(1, 3, 8, 8)
    before = ed.autoencoders.open_autoencoder(pair).encode(x)
    other = write_pair(tmp_path / "other")
    onnx.save(encoder(), other / "encoder.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (other / "weights.bin").exists()
    assert torch.equal(ed.autoencoders.open_autoencoder(other).encode(x), before)


def test_an_encoder_of_other_channels_and_a_decoder_of_another(tmp_path: Path) -> None:
    pair = ed.autoencoders.open_autoencoder(write_pair(tmp_path / "pair"))
    with pytest.raises(ValueError, match=r"cannot encode pictures of shape \(1, 8, 8\): it takes 3 x height x width"):
        ed.autoencoders.latent_shape(pair, (1, 8, 8))
    onnx.save(decoder(channels=1), tmp_path / "pair" / "decoder.onnx")
    grey = OnnxPair(str(tmp_path / "pair" / "encoder.onnx"), str(tmp_path / "pair" / "decoder.onnx"), 0.0)
    with pytest.raises(ValueError, match=r"do not fit each other: pictures of 3 channels come back as \(1, 8, 8\)"):
        ed.autoencoders.latent_shape(grey, (3, 8, 8))


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_files_are_run_or_refused_in_one_line(count: int, tmp_path: Path) -> None:
    sound = encoder().SerializeToString()
    images = np.zeros((1, 3, 8, 8), np.float32)

    def reader(path: Path) -> None:
        _Program(path)(torch.from_numpy(images), "encode pictures of shape")

    found = outcomes(reader, tmp_path / "encoder.onnx", sound, count, places=range(200))
    assert found.read + len(found.messages) == count
    assert found.messages
