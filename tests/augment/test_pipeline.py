"""Drawing and applying together."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from elucidiff.augment import Augment
from elucidiff.augment.base import COLOUR, EXACT, SUBPIXEL

ALL = Augment(**dict.fromkeys((*EXACT, *SUBPIXEL, *COLOUR), 1.0))


def random_images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_happens_when_no_gate_passes() -> None:
    augment = Augment(p=0.0, **dict.fromkeys(ALL.active, 1.0))
    images = random_images(6, 3, 16, 16)
    result, labels = augment.apply(images, augment.draw(6, generator()))
    assert torch.equal(result, images)
    assert torch.equal(labels, torch.zeros(6, 19))


def test_nothing_happens_when_everything_is_off() -> None:
    images = random_images(3, 7, 6, 5)
    result, labels = Augment().apply(images, Augment().draw(3, generator()))
    assert torch.equal(result, images)
    assert labels.shape == (3, 0)


def test_labels_are_zero_just_where_the_image_is_untouched() -> None:
    """The network must be able to tell: zero labels mean a clean image, and only that."""
    augment = Augment(p=0.3, yflip=1, scale=1, rotate_frac=1, aniso=1, translate_frac=1, hue=1)
    images = random_images(200, 3, 12, 16)
    result, labels = augment.apply(images, augment.draw(200, generator()))
    touched = (result != images).flatten(1).any(1)
    assert torch.equal(touched, (labels != 0).any(1))
    assert 100 < touched.sum() < 195


def test_applying_is_deterministic_and_leaves_its_input_alone() -> None:
    images = random_images(8, 3, 16, 16)
    params = ALL.draw(8, generator())
    kept, kept_params = images.clone(), {name: w.clone() for name, w in params.items()}
    first, first_labels = ALL.apply(images, params)
    second, second_labels = ALL.apply(images, params)
    assert torch.equal(first, second)
    assert torch.equal(first_labels, second_labels)
    assert torch.equal(images, kept)
    assert all(torch.equal(params[name], w) for name, w in kept_params.items())


@given(
    n=st.integers(1, 5), channels=st.integers(1, 5), height=st.integers(8, 24), width=st.integers(8, 24),
    seed=st.integers(0, 100), dtype=st.sampled_from([torch.float32, torch.float64]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_an_image_does_not_depend_on_its_batch(
    n: int, channels: int, height: int, width: int, seed: int, dtype: torch.dtype
) -> None:
    augment = Augment(p=0.6, xflip=1, yflip=1, translate_int=1, scale=1, rotate_frac=1, aniso=1, translate_frac=1)
    images = random_images(n, channels, height, width).to(dtype)
    params = augment.draw(n, generator(seed))
    together, labels = augment.apply(images, params)
    assert together.dtype == labels.dtype == dtype
    assert together.shape == images.shape
    for k in range(n):
        own = {name: w[..., k : k + 1] for name, w in params.items()}
        alone, own_labels = augment.apply(images[k : k + 1], own)
        torch.testing.assert_close(alone[0], together[k], rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-11)
        assert torch.equal(own_labels[0], labels[k])


def test_channels_are_treated_alike() -> None:
    augment = Augment.paper(p=1.0)
    images = random_images(4, 6, 16, 20)
    params = augment.draw(4, generator())
    result, _ = augment.apply(images, params)
    for channel in range(6):
        alone, _ = augment.apply(images[:, channel : channel + 1], params)
        torch.testing.assert_close(alone, result[:, channel : channel + 1], rtol=0, atol=1e-6)


def test_flips_come_before_the_affine_map() -> None:
    augment = Augment(xflip=1, rotate_frac=1)
    images = random_images(1, 1, 16, 16)
    turn = torch.tensor([0.5])
    both, _ = augment.apply(images, {"xflip": torch.ones(1), "rotate_frac": turn})
    after, _ = Augment(rotate_frac=1).apply(images.flip(3), {"rotate_frac": turn})
    assert torch.equal(both, after)


def test_an_empty_batch_stays_empty() -> None:
    images, labels = ALL.apply(torch.zeros(0, 3, 8, 8), ALL.draw(0, generator()))
    assert images.shape == (0, 3, 8, 8)
    assert labels.shape == (0, 19)


@pytest.mark.parametrize("shape", [(3,), (1, 16), (1, 8, 8, 8)])
def test_only_two_dimensional_images(shape: tuple[int, ...]) -> None:
    augment = Augment.paper()
    with pytest.raises(ValueError, match="2-D images"):
        augment.check(shape)
    with pytest.raises(ValueError, match="2-D images"):
        augment.apply(torch.zeros(2, *shape), augment.draw(2, generator()))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16])
def test_other_types_are_refused(dtype: torch.dtype) -> None:
    augment = Augment.paper()
    with pytest.raises(ValueError, match=str(dtype)):
        augment.apply(torch.zeros(1, 3, 8, 8, dtype=dtype), augment.draw(1, generator()))


def test_parameters_of_another_augmentation_or_batch_are_refused() -> None:
    augment = Augment.paper()
    images = random_images(4, 3, 8, 8)
    with pytest.raises(ValueError, match="brightness"):
        augment.apply(images, Augment(brightness=1).draw(4, generator()))
    with pytest.raises(ValueError, match=r"xflip has shape \(3,\), but a batch of 4"):
        augment.apply(images, augment.draw(3, generator()))
