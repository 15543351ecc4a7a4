"""How noise level, class and augmentation labels enter."""

from __future__ import annotations

import math

import pytest
import torch

from elucidiff.networks.layers import FourierEmbedding, PositionalEmbedding
from tests.networks.small import random, small_network


@pytest.mark.parametrize("kind", ["ddpmpp", "ncsnpp", "adm", "mp-unet"])
def test_one_row_serves_the_whole_batch_and_none_means_zeros(kind):
    network = small_network(kind, (3, 8, 8), label_dim=4, augment_dim=2)
    x, noise, labels, augment = random(3, 3, 8, 8), random(1), random(1, 4), random(1, 2)
    with torch.no_grad():
        torch.testing.assert_close(
            network(x, noise, labels, augment),
            network(x, noise.expand(3), labels.expand(3, 4), augment.expand(3, 2)),
            rtol=0,
            atol=1e-12,
        )
        none = network(x, noise)
        torch.testing.assert_close(network(x, noise, 0 * labels, 0 * augment), none, rtol=0, atol=1e-12)
        assert (network(x, noise, labels) - none).abs().max() > 1e-3
        assert (network(x, noise, None, augment) - none).abs().max() > 1e-3
        assert (network(x, noise + 1) - none).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["ddpmpp", "adm", "mp-unet"])
def test_label_dropout_replaces_whole_rows_in_training_only(kind):
    network = small_network(kind, (1, 4, 4), label_dim=3, label_dropout=0.25)
    x, noise = random(1, 1, 4, 4).expand(400, -1, -1, -1), random(1)
    labels = random(1, 3).expand(400, -1)
    torch.manual_seed(0)
    with torch.no_grad():
        kept, dropped = network(x[:1], noise, labels[:1]), network(x[:1], noise)
        torch.testing.assert_close(network(x, noise, labels), kept.expand_as(x), rtol=0, atol=1e-11)
        y = network.train()(x, noise, labels)
    is_kept = ((y - kept).flatten(1).abs().amax(1) < 1e-10).double()
    is_dropped = ((y - dropped).flatten(1).abs().amax(1) < 1e-10).double()
    assert torch.equal(is_kept + is_dropped, torch.ones(400, dtype=torch.float64))
    assert abs(is_dropped.mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 400)


@pytest.mark.parametrize("kind", ["ddpmpp", "adm", "mp-unet"])
def test_dropout_acts_in_training_only(kind):
    network = small_network(kind, (1, 4, 4), dropout=0.5)
    x, noise = random(1, 1, 4, 4), random(1)
    with torch.no_grad():
        plain = network(x, noise)
        assert torch.equal(network(x, noise), plain)
        assert (network.train()(x, noise) - plain).abs().max() > 0.01


def test_positional_features():
    noise = torch.tensor([0.0, 1.5, 999.0], dtype=torch.float64)
    for endpoint, last in ((True, 1e-4), (False, 1e-3)):
        features = PositionalEmbedding(8, endpoint=endpoint, sines_first=False)(noise)
        # The first frequency is 1; the last of 4 is 1e-4, or a quarter of the decades before it.
        torch.testing.assert_close(features[:, 0], noise.cos(), rtol=0, atol=1e-12)
        torch.testing.assert_close(features[:, 3], (noise * last).cos(), rtol=0, atol=1e-6)
        torch.testing.assert_close(features[:, 7], (noise * last).sin(), rtol=0, atol=1e-6)
        swapped = PositionalEmbedding(8, endpoint=endpoint, sines_first=True)(noise)
        assert torch.equal(swapped, features.roll(4, dims=1))


def test_fourier_features():
    torch.manual_seed(0)
    embedding = FourierEmbedding(20000)
    assert embedding.frequencies.std() == pytest.approx(16, rel=0.03)
    features = embedding(torch.tensor([0.3]))[0]
    phases = 2 * math.pi * 0.3 * embedding.frequencies
    torch.testing.assert_close(features, torch.cat([phases.sin(), phases.cos()]), rtol=0, atol=1e-4)
