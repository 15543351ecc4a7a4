"""Numbers of parameters and statistics of the starting values against the reference implementation."""

from __future__ import annotations

import json
import math

import pytest
import torch

from elucidiff.interop.nvlabs_names import network_blueprint, reference_name
from tests.golden_files import GOLDEN

COUNTS = json.loads((GOLDEN / "e_networks/param_counts.json").read_text())
STATISTICS = json.loads((GOLDEN / "e_networks/init_stats.json").read_text())


@pytest.mark.parametrize("name", COUNTS)
def test_full_size_networks_have_the_reference_parameters(name):
    case = COUNTS[name]
    arguments = dict(case["kwargs"])
    channels = arguments.pop("img_channels")
    blueprint = network_blueprint(
        arguments.pop("model_type"), {"in_channels": channels, "out_channels": channels, **arguments}
    )
    with torch.device("meta"):
        network = blueprint.build()
    parameters = dict(network.named_parameters())
    assert all(parameter.is_meta for parameter in parameters.values())
    assert sum(parameter.numel() for parameter in parameters.values()) == case["num_params"]
    assert len(parameters) == case["num_param_tensors"]
    tops = dict.fromkeys(case["top"], 0)
    for ours, parameter in parameters.items():
        tops[reference_name(ours, network).partition(".")[0]] += parameter.numel()
    assert tops == case["top"]
    for theirs, shape in case.get("param_shapes", {}).items():
        ours = next(key for key in parameters if f"model.{reference_name(key, network)}" == theirs)
        assert parameters[ours].numel() == math.prod(shape)
        assert parameters[ours].shape[:2] == torch.Size(shape[:2])


@pytest.mark.parametrize("name", STATISTICS)
def test_starting_values_have_the_reference_statistics(name):
    case = STATISTICS[name]
    torch.manual_seed(0)
    network = network_blueprint(case["cls"], case["kwargs"]).build()
    expected = {tensor["name"]: tensor for tensor in case["tensors"]}
    for ours, value in network.state_dict().items():
        theirs = reference_name(ours, network)
        stats = expected[theirs]
        # Two independent draws: six standard errors of their difference, and the edges of uniform ones.
        spread = 6 * math.sqrt(2) / math.sqrt(value.numel())
        assert bool((value == 0).all()) == stats["all_zero"], theirs
        assert bool((value == 1).all()) == stats["all_one"], theirs
        assert value.std(correction=0) == pytest.approx(stats["std"], rel=spread, abs=1e-12), theirs
        assert value.mean() == pytest.approx(stats["mean"], abs=1e-12 + stats["std"] * spread), theirs
        if theirs not in ("map_noise.freqs", "map_label.weight") and value.numel() >= 4096:
            assert value.abs().max() == pytest.approx(max(-stats["min"], stats["max"]), rel=0.01), theirs
    assert sum(parameter.numel() for parameter in network.parameters()) == case["num_params"]
