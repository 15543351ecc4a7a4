"""Group normalisation in every memory layout."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from elucidiff.networks import layers
from elucidiff.networks.layers import GroupNorm, silu
from tests.networks.small import random


@pytest.mark.parametrize(
    ("channels", "groups"), [(16, 4), (96, 24), (128, 32), (192, 32), (144, 24), (100, 25), (3, 1), (1, 1), (14, 2)]
)
def test_number_of_groups(channels, groups):
    assert GroupNorm(channels, 1e-5).num_groups == groups


@pytest.mark.parametrize("offset", [0.0, 3.0])
@pytest.mark.parametrize("shape", [(2, 32, 6, 10), (3, 64, 1, 7), (1, 144, 4, 4)])
def test_short_cut_equals_the_definition(shape, offset):
    norm = GroupNorm(shape[1], 1e-6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = (random(*shape) + offset).float().to(memory_format=torch.channels_last)
    assert not layers._torch_is_slow(x, norm.num_groups), "gradients are needed"
    with torch.no_grad():
        assert layers._torch_is_slow(x, norm.num_groups)
        expected = F.group_norm(x.double(), norm.num_groups, norm.weight.double(), norm.bias.double(), norm.eps)
        torch.testing.assert_close(norm(x).double(), expected, rtol=0, atol=1e-5)
        assert norm(x).is_contiguous(memory_format=torch.channels_last)


def test_constant_input_stays_finite():
    norm = GroupNorm(32, 1e-6)
    x = torch.full((1, 32, 8, 8), 1234.5).to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert layers._torch_is_slow(x, norm.num_groups)
        assert torch.isfinite(norm(x)).all()


def test_silu_keeps_its_argument_where_gradients_need_it():
    x = random(5).requires_grad_()
    before = x.detach().clone()
    silu(x).sum().backward()
    assert torch.equal(x.detach(), before)
    s = torch.sigmoid(before)
    torch.testing.assert_close(x.grad, s * (1 + before * (1 - s)), rtol=0, atol=1e-14)
    with torch.inference_mode():
        torch.testing.assert_close(silu(before.clone()), before * s, rtol=0, atol=1e-14)
