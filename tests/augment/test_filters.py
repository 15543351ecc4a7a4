"""Image-space filtering: bands that add up to the image, gains that keep the expected power."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from elucidiff.augment import Augment
from elucidiff.augment.colour import BANK, POWER, SYM2, filter_images, gains


def test_sym2_is_orthogonal_with_two_vanishing_moments() -> None:
    h, high = np.array(SYM2), np.array(SYM2)[::-1] * [1, -1, 1, -1]
    assert h @ h == pytest.approx(1, abs=1e-15)
    assert h[:2] @ h[2:] == pytest.approx(0, abs=1e-15)
    assert h.sum() == pytest.approx(math.sqrt(2), abs=1e-15)
    assert [high.sum(), high @ np.arange(4)] == pytest.approx([0, 0], abs=1e-15)


def test_bands_add_up_to_the_identity_and_have_their_octaves() -> None:
    middle = BANK.shape[1] // 2
    np.testing.assert_allclose(BANK.sum(0), np.eye(BANK.shape[1])[middle], atol=1e-15)
    np.testing.assert_allclose(BANK, BANK[:, ::-1], atol=1e-15)
    frequencies = np.linspace(0, np.pi, 4001)
    response = BANK @ np.cos(np.arange(-middle, middle + 1)[:, None] * frequencies)
    # sym2's low pass is cos^4(w/2) (1 + 2 sin^2(w/2)), which is 1/2 at pi/2: bands meet there, at pi/4 and at pi/8.
    low = np.cos(frequencies / 2) ** 4 * (1 + 2 * np.sin(frequencies / 2) ** 2)
    np.testing.assert_allclose(response[3], 1 - low, atol=1e-14)
    assert response[0, 0] == pytest.approx(1, abs=1e-14)
    for band, edge in ((1, np.pi / 8), (2, np.pi / 4), (3, np.pi / 2)):
        below, above = frequencies < 0.7 * edge, frequencies > 1.4 * edge
        assert (response[band:, below].sum(0) < 0.5).all()
        assert (response[:band, above].sum(0) < 0.5).all()


def test_gains_keep_the_expected_power_of_a_single_band() -> None:
    w = torch.tensor([[1.5, 0.0, 0.0], [0.0, 0.0, -2.0], [0.0, 0.0, 0.0], [0.0, 2.0, 0.0]], dtype=torch.float64)
    g = gains(w, 0.5)
    power = torch.tensor(POWER, dtype=torch.float64)[:, None]
    torch.testing.assert_close((power * g.square()).sum(0), torch.ones(3, dtype=torch.float64))
    # 2^(2 * 0.5) = 2 in a band with 1/13 of the power: the whole is divided by sqrt((12 + 4) / 13).
    torch.testing.assert_close(g[:, 1], torch.tensor([1, 1, 1, 2], dtype=torch.float64) / math.sqrt(16 / 13))
    torch.testing.assert_close(gains(torch.zeros(4, 2), 1.0), torch.ones(4, 2))


def test_a_wave_is_multiplied_by_the_response_at_its_frequency() -> None:
    """Whole waves are their own continuation by reflection if they begin and end on a crest."""
    size, waves = 65, 4
    omega = math.pi * waves / (size - 1)
    wave = torch.cos(omega * torch.arange(size, dtype=torch.float64)).expand(1, 1, size, size)
    gain = torch.tensor([[0.5], [3.0], [0.25], [2.0]], dtype=torch.float64)
    lags = np.arange(BANK.shape[1]) - BANK.shape[1] // 2
    at = torch.from_numpy(BANK @ np.cos(omega * lags))
    at_zero = torch.from_numpy(BANK.sum(1))
    expected = wave * (gain[:, 0] @ at) * (gain[:, 0] @ at_zero)
    torch.testing.assert_close(filter_images(wave, gain), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 2, 3), (3, 8, 8), (5, 33, 40)])
def test_images_whose_bands_are_left_alone_are_untouched(shape: tuple[int, ...]) -> None:
    augment = Augment(imgfilter=1, p=0.5)
    assert augment.label_dim == 4
    params = augment.draw(64, torch.Generator().manual_seed(0))
    assert tuple(params["imgfilter"].shape) == (4, 64)
    images = torch.randn(64, *shape, generator=torch.Generator().manual_seed(1))
    filtered, labels = augment.apply(images, params)
    assert torch.equal(labels, params["imgfilter"].T)
    alone = (labels == 0).all(1)
    assert 0 < int(alone.sum()) < 20
    assert torch.equal(filtered[alone], images[alone])
    assert bool((filtered[~alone] != images[~alone]).flatten(1).any(1).all())
    torch.testing.assert_close(filter_images(images, torch.ones(4, 64, dtype=torch.float64)), images)


def test_it_is_off_by_default_and_draws_last() -> None:
    """So the draws of other transforms are what they were."""
    assert "imgfilter" not in Augment.paper().active
    colour = Augment(brightness=1, saturation=1).draw(9, torch.Generator().manual_seed(3))
    both = Augment(brightness=1, saturation=1, imgfilter=1).draw(9, torch.Generator().manual_seed(3))
    assert all(torch.equal(colour[name], both[name]) for name in colour)
