"""Small autoencoders in ONNX with random weights, made node by node."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

CHANNELS, LATENTS, FACTOR = 3, 4, 4


def encoder(
    channels: int = CHANNELS, latents: int = LATENTS, seed: int = 0, moments: bool = False
) -> onnx.ModelProto:
    """Patches of 4 x 4 pixels, weighed; with ``moments`` mean and logarithm of the variance of each latent."""
    random = np.random.default_rng(seed)
    width = latents * (1 + moments)
    weights = random.normal(size=(width, channels, FACTOR, FACTOR)).astype(np.float32) / 4
    return _model(
        [helper.make_node("Conv", ["image", "weights"], ["latent"], strides=[FACTOR, FACTOR])],
        ("image", ["batch", channels, "height", "width"]),
        ("latent", ["batch", width, "h", "w"]),
        weights,
    )


def decoder(channels: int = CHANNELS, latents: int = LATENTS, seed: int = 1) -> onnx.ModelProto:
    """Patches again, and a sigmoid: pictures in [0, 1]."""
    weights = np.random.default_rng(seed).normal(size=(latents, channels, FACTOR, FACTOR)).astype(np.float32) / 2
    return _model(
        [
            helper.make_node("ConvTranspose", ["latent", "weights"], ["sum"], strides=[FACTOR, FACTOR]),
            helper.make_node("Sigmoid", ["sum"], ["image"]),
        ],
        ("latent", ["batch", latents, "h", "w"]),
        ("image", ["batch", channels, "height", "width"]),
        weights,
    )


def _model(
    nodes: list[onnx.NodeProto], given: tuple[str, list[object]], made: tuple[str, list[object]], weights: object
) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes) for name, sizes in (given, made)]
    stored = [numpy_helper.from_array(weights, "weights")]
    graph = helper.make_graph(nodes, "small", ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def write_pair(folder: Path, **settings: object) -> Path:
    """``encoder.onnx`` and ``decoder.onnx`` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(encoder(**settings), folder / "encoder.onnx")  # type: ignore[arg-type]
    settings.pop("moments", None)
    onnx.save(decoder(**settings), folder / "decoder.onnx")  # type: ignore[arg-type]
    return folder
