"""EDM2 as published: outputs, gradients, forced weights, half precision and starting values of the reference."""

from __future__ import annotations

import json
import math

import pytest
import torch

from elucidiff import networks
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design import preconditioning
from elucidiff.interop import nvlabs
from elucidiff.interop.nvlabs_names import network_blueprint, our_order, reference_name
from elucidiff.networks.magnitude_preserving import MPLayer, UnitAttention
from tests.golden_files import GOLDEN, load

CASES = ["uncond_rgb", "cond_latent", "grey_balances", "clip_default", "one_level", "old_layout"]
COUNTS = json.loads((GOLDEN / "m_edm2/param_counts.json").read_text())
STATISTICS = json.loads((GOLDEN / "m_edm2/init_stats.json").read_text())


def reference(name):
    """The case, its tensors and the denoiser with its weights in float32."""
    case, tensors = load(f"m_edm2/{name}")
    weights = {key.removeprefix("param/"): value for key, value in tensors.items() if key.startswith("param/")}
    network = nvlabs.from_state_dict("Precond", case["kwargs"], weights)
    return case, tensors, Denoiser(network, preconditioning.EDM(sigma_data=case["kwargs"].get("sigma_data", 0.5)))


def close(actual, expected, rel=1e-5):
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected, rtol=0, atol=rel * float(expected.abs().max()))


@pytest.mark.parametrize("name", CASES)
def test_outputs(name):
    case, tensors, denoiser = reference(name)
    network, labels = denoiser.network, tensors.get("class_labels")
    assert type(network) is networks.EDM2
    with torch.no_grad():
        close(denoiser(tensors["x"], tensors["sigma"], labels), tensors["D"])
        close(denoiser(tensors["x"].double(), tensors["sigma_scalar_f64"], labels), tensors["D_from_f64_inputs"])
        if "D_no_labels" in tensors:
            close(denoiser(tensors["x"], tensors["sigma"]), tensors["D_no_labels"])
        close(network.log_variance(tensors["sigma"].log() / 4), tensors["logvar"].flatten())
        rows = None if labels is None else labels[:3]
        close(network(tensors["unet/x"], tensors["unet/noise_labels"], rows), tensors["unet/out"])
    heads = {}
    for layer, module in network.named_modules():
        if isinstance(module, UnitAttention):
            theirs = reference_name(f"{layer}.qkv.weight", network)
            heads[theirs.removeprefix("unet.").removesuffix(".attn_qkv.weight")] = module.heads
    assert heads == case["num_heads"]


@pytest.mark.parametrize("name", [name for name in CASES if name != "uncond_rgb"])
def test_half_precision(name):
    """float16 throughout, as on a GPU; features and embedding stay in float32."""
    _, tensors, denoiser = reference(name)
    network = denoiser.network.half()
    assert network.noise_features.frequencies.dtype == network.noise_features.phases.dtype == torch.float32
    labels = tensors.get("class_labels")
    rows = None if labels is None else labels[:3]
    with torch.no_grad():
        output = network(tensors["unet/x"], tensors["unet/noise_labels"], rows)
        assert output.dtype == torch.float16
        close(output.float(), tensors["unet/out_half"], 1e-2)
        close(network.log_variance(tensors["sigma"].log() / 4), tensors["D_half_logvar"].flatten(), 1e-3)


@pytest.mark.parametrize("name", CASES)
def test_gradients(name):
    case, tensors, denoiser = reference(name)
    network = denoiser.network
    x = tensors["x"].clone().requires_grad_()
    denoiser(x, tensors["sigma"], tensors.get("class_labels")).square().mean().backward()
    ours = {reference_name(name, network): name for name, _ in network.named_parameters()}
    parameters = dict(network.named_parameters())
    heads = {name: layer.heads for name, layer in network.named_modules() if isinstance(layer, UnitAttention)}
    close(x.grad, tensors["grad/in_x"], 1e-4)
    for key, expected in tensors.items():
        if key.startswith("grad/") and key != "grad/in_x":
            name = ours[key.removeprefix("grad/")]
            gradient = parameters[name].grad
            wanted = our_order(name, expected.reshape(gradient.shape), heads.get(name.partition(".qkv.")[0], 1))
            close(gradient, wanted, 1e-4)
    norms = torch.stack([parameters[ours[theirs]].grad.double().norm() for theirs in case["grad_norm_order"]])
    is_gain = torch.tensor([theirs.endswith("_gain") for theirs in case["grad_norm_order"]])
    expected = tensors["grad_norms"]
    torch.testing.assert_close(norms[~is_gain], expected[~is_gain], rtol=1e-4, atol=0)
    atol = 1e-5 * float(expected[is_gain].max())
    torch.testing.assert_close(norms[is_gain], expected[is_gain], rtol=1e-4, atol=atol)


def test_forced_weights():
    """A call in training mode leaves weight vectors of root mean square 1, and computes with unit() of these."""
    case, tensors, denoiser = reference("uncond_rgb")
    network = denoiser.network
    layers = {
        reference_name(f"{name}.weight", network): module
        for name, module in network.named_modules()
        if isinstance(module, MPLayer)
    }

    def sizes():
        vectors = [layers[name].weight.detach().double().flatten(1) for name in case["forced_order"]]
        return torch.stack([rows.square().mean(1).sqrt().mean() for rows in vectors])

    torch.testing.assert_close(sizes(), tensors["forced/rms_before"].double(), rtol=1e-5, atol=0)
    denoiser.train()
    close(denoiser(tensors["x"], tensors["sigma"]).detach(), tensors["D_train"])
    torch.testing.assert_close(sizes(), tensors["forced/rms_after"].double(), rtol=1e-5, atol=0)
    heads = {layer.qkv: layer.heads for layer in network.modules() if isinstance(layer, UnitAttention)}
    for key, expected in tensors.items():
        if key.startswith("forced/") and not key.startswith("forced/rms"):
            layer = layers[key.removeprefix("forced/")]
            name = "attention.qkv.weight" if layer in heads else ""
            wanted = our_order(name, expected.reshape(layer.weight.shape), heads.get(layer, 1))
            close(layer.weight.detach(), wanted, 1e-6)


@pytest.mark.parametrize("name", COUNTS)
def test_published_sizes(name):
    case = COUNTS[name]
    with torch.device("meta"):
        network = network_blueprint("Precond", case["kwargs"]).build()
    parameters = dict(network.named_parameters())
    assert sum(value.numel() for value in parameters.values()) == case["num_params"]
    assert len(parameters) == case["num_param_tensors"]
    assert sum(value.numel() for value in network.buffers()) == case["buffer_elements"]
    parts = dict.fromkeys(case["params_by_part"], 0)
    shapes = {}
    for ours, value in parameters.items():
        theirs = reference_name(ours, network)
        part = theirs.split(".")[0] if theirs.startswith("logvar") else ".".join(theirs.split(".")[:2])
        parts[part] += value.numel()
        shapes[theirs] = value.shape
    assert parts == case["params_by_part"]
    for theirs, shape in case.get("param_shapes", {}).items():
        assert list(shapes[theirs])[:2] == shape[:2]
        assert math.prod(shapes[theirs]) == math.prod(shape)


@pytest.mark.parametrize("name", STATISTICS)
def test_starting_values(name):
    case = STATISTICS[name]
    torch.manual_seed(0)
    network = network_blueprint("Precond", case["kwargs"]).build()
    expected = {tensor["name"]: tensor for tensor in case["tensors"]}
    state = {
        reference_name(name, network): value
        for name, value in network.state_dict().items()
        if not name.endswith("resample.kernel")
    }
    assert state.keys() == expected.keys()
    for theirs, value in state.items():
        stats = expected[theirs]
        spread = 6 * math.sqrt(2) / math.sqrt(value.numel())
        assert bool((value == 0).all()) == stats["all_zero"], theirs
        if value.numel() > 1:
            assert value.std(correction=0) == pytest.approx(stats["std"], rel=spread, abs=1e-12), theirs
            assert value.mean() == pytest.approx(stats["mean"], abs=stats["std"] * spread), theirs


def test_in_one_and_three_dimensions():
    """Any number of spatial dimensions is built and keeps the magnitude of unit noise."""
    torch.manual_seed(0)
    settings = {"base_channels": 16, "channel_multipliers": (1, 2), "blocks_per_level": 1}
    for sides in ((64,), (8, 8, 16)):
        network = networks.EDM2((2, *sides), **settings, attention_resolutions=(8,), channels_per_head=8)
        with torch.no_grad():
            network.head_gain.fill_(1.0)
            output = network(torch.randn(4, 2, *sides), torch.zeros(4))
        assert output.shape == (4, 2, *sides)
        assert float(output.std()) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augment_dim": 9}, "edm2 takes no augmentation labels"),
        ({"res_balance": 1.5}, r"res_balance is a share, but 1\.5"),
        ({"clip": 0.0}, "clip must be positive"),
        ({"channels_per_head": 0}, "channels_per_head must be at least 1"),
        ({"base_channels": 10, "channels_per_head": 3, "attention_resolutions": (8,)}, "3 heads .* 10 channels"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        networks.EDM2((3, 8, 8), **{"channel_multipliers": (1,), "attention_resolutions": (), **settings})


def test_without_a_log_variance():
    network = networks.EDM2((1, 4, 4), base_channels=4, channel_multipliers=(1,), blocks_per_level=1)
    with pytest.raises(ValueError, match="log_variance_channels 0"):
        network.log_variance(torch.zeros(1))


def test_it_trains_and_its_weights_stay_at_magnitude_1() -> None:
    torch.manual_seed(0)
    network = networks.EDM2((1, 4, 4), base_channels=8, channel_multipliers=(1,), blocks_per_level=1, label_dim=3)
    denoiser = Denoiser(network, preconditioning.EDM()).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    clean, labels = torch.full((64, 1, 4, 4), 0.5), torch.eye(3)[torch.arange(64) % 3]
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(60):
        noise = torch.randn(clean.shape, generator=generator)
        error = denoiser(clean + noise, torch.ones(64), labels) - clean
        loss = error.square().mean()
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert sum(losses[-5:]) < 0.2 * sum(losses[:5])
    with torch.no_grad():
        denoiser(clean, torch.ones(64), labels)
    for layer in (layer for layer in network.modules() if isinstance(layer, MPLayer)):
        sizes = layer.weight.flatten(1).square().mean(1).sqrt()
        torch.testing.assert_close(sizes, torch.full_like(sizes, 1.0), rtol=0, atol=2e-4)
