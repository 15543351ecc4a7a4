"""One to three spatial dimensions, sides that differ, sizes that do not fit."""

from __future__ import annotations

import pytest
import torch

from elucidiff import networks
from elucidiff.networks.layers import SelfAttention
from tests.networks.small import random, small_network

KINDS = ["ddpmpp", "ncsnpp", "skip", "adm", "mp-unet"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dims", [2, 3])
def test_dimensions_along_which_nothing_changes_do_not_matter(kind, dims):
    # A network whose kernels are zero but for the middle in its first dimension, on input that is constant there,
    # must return what the network with one dimension less returns for a slice.
    box = {} if kind in ("adm", "mp-unet") else {"resample_filter": (1, 1)}  # longer filters see the zeros outside
    if kind == "skip":
        kind, box = "ddpmpp", {"encoder": "skip", "decoder": "skip"}
    sides = (4, 8)[: dims - 1]
    flat, deep = small_network(kind, (2, *sides), **box), small_network(kind, (2, 4, *sides), **box)
    weights = flat.state_dict()
    for name, value in deep.state_dict().items():
        thin = weights[name]
        if value.shape != thin.shape:
            value.zero_()[:, :, value.shape[2] // 2] = thin
        else:
            value.copy_(thin)
    x, noise_labels = random(2, 2, *sides), random(2)
    with torch.no_grad():
        expected = flat(x, noise_labels)
        y = deep(x.unsqueeze(2).repeat_interleave(4, dim=2), noise_labels)
    assert expected.std() > 0.01
    for index in range(4):
        torch.testing.assert_close(y[:, :, index], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_transposed_network_of_a_transposed_image(kind):
    network = small_network(kind, (3, 8, 16), label_dim=2)
    x, noise_labels, labels = random(2, 3, 8, 16), random(2), random(2, 2)
    with torch.no_grad():
        y = network(x, noise_labels, labels)
        for parameter in network.parameters():
            if parameter.ndim == 4:
                parameter.copy_(parameter.transpose(2, 3).clone())
        transposed = network(x.transpose(2, 3), noise_labels, labels)
    assert (y[..., :8] - y[..., 8:]).std() > 0.1
    torch.testing.assert_close(transposed.transpose(2, 3), y, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_an_item_does_not_depend_on_its_batch(kind):
    network = small_network(kind, (3, 8, 8), label_dim=2, augment_dim=3)
    x, noise_labels, labels, augment = random(3, 3, 8, 8), random(3), random(3, 2), random(3, 3)
    with torch.no_grad():
        y = network(x, noise_labels, labels, augment)
        for item in range(3):
            alone = network(*(argument[item : item + 1] for argument in (x, noise_labels, labels, augment)))
            torch.testing.assert_close(alone, y[item : item + 1], rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("sample_shape", "expected"),
    [((1, 16, 16), 8), ((1, 8, 16), 8), ((1, 16, 8), 8), ((1, 16), 8), ((1, 8, 8, 16), 8), ((1, 32, 32), 16)],
)
def test_attention_is_placed_by_the_larger_side(sample_shape, expected):
    # With attention at resolution 8 and two levels: on both levels of a sample of 8, on the lower one of 16, else
    # only at the bottom of the decoder, where DDPM++ always has it.
    network = networks.UNet.ddpmpp(
        sample_shape, base_channels=8, channel_multipliers=(1, 1), blocks_per_level=1, attention_resolutions=(8,)
    )
    attending = [name for name, module in network.named_modules() if isinstance(module, SelfAttention)]
    assert "decoder.0.enter.0.attention" in attending
    assert ("encoder.1.blocks.0.attention" in attending) == (expected == 8)
    assert len(attending) == (3 if expected == 8 else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_other_sizes_than_the_nominal_one(kind):
    network = small_network(kind, (3, 8, 8))
    with torch.no_grad():
        assert network(random(1, 3, 12, 4), random(1)).shape == (1, 3, 12, 4)


@pytest.mark.parametrize(
    ("x", "noise_labels", "labels", "augment", "message"),
    [
        ((2, 3, 9, 8), (2,), None, None, "size 9x8 does not fit 2 levels: pad or crop every side to a multiple of 2"),
        ((2, 1, 8, 8), (2,), None, None, r"x has shape \(2, 1, 8, 8\), but this network takes \(batch, 3, 2 spatial"),
        ((2, 3, 8), (2,), None, None, r"x has shape \(2, 3, 8\)"),
        ((2, 3, 8, 8), (3,), None, None, r"noise_labels has shape \(3,\), but must be \(2,\) or \(1,\)"),
        ((2, 3, 8, 8), (), None, None, r"noise_labels has shape \(\)"),
        ((2, 3, 8, 8), (2,), (2, 5), None, r"class_labels has shape \(2, 5\), but this network takes \(2, 4\)"),
        ((2, 3, 8, 8), (2,), (3, 4), None, r"class_labels has shape \(3, 4\)"),
        ((2, 3, 8, 8), (2,), (4,), None, r"class_labels has shape \(4,\)"),
        ((2, 3, 8, 8), (2,), None, (2, 1), r"augment_labels has shape \(2, 1\), but this network takes \(2, 0\)"),
    ],
)
@pytest.mark.parametrize("kind", ["ddpmpp", "adm", "mp-unet"])
def test_arguments_that_do_not_fit(kind, x, noise_labels, labels, augment, message):
    network = small_network(kind, (3, 8, 8), label_dim=4)
    arguments = [None if shape is None else torch.zeros(shape) for shape in (x, noise_labels, labels, augment)]
    with pytest.raises(ValueError, match=message) as error:
        network(*arguments)
    assert "\n" not in str(error.value)
