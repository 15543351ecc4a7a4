from __future__ import annotations

from pathlib import Path

import pytest
import torch

import elucidiff as ed

pytest.importorskip("onnxruntime")


@pytest.mark.slow
def test_an_exported_sampler_takes_the_condition(tmp_path: Path) -> None:
    """What is written is compared with the library's own samples before it is kept."""
    torch.manual_seed(0)
    part = "mp_unet:base_channels=8,channel_multipliers=1,blocks_per_level=1,attention_resolutions="
    network = ed.networks.build(f"{part},condition_channels=1", (1, 8, 8))
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    model = ed.Denoiser(network, ed.preconditioning.EDM()).eval()
    model.facts["data"] = {"dtype": "uint8", "condition_shape": [1, 2, 2]}
    with pytest.raises(ValueError, match=r"an exported file without an example of one \(labels\) gives it none"):
        ed.interop.export(model, tmp_path / "model.onnx")
    example = {"field": torch.zeros(1, 1, 2, 2)}
    made = ed.interop.export(model, tmp_path / "model.onnx", sampler="steps=karras:n=2", labels=example)
    assert made.about["inputs"] == ["latents", "field"]
    assert made.difference < 1e-5
