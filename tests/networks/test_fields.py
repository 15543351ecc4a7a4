from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import elucidiff as ed
from elucidiff.networks import fields

NETWORKS = (
    "ddpmpp:base_channels=8,channel_multipliers=1/2,blocks_per_level=1",
    "ncsnpp:base_channels=8,channel_multipliers=1/2,blocks_per_level=1",
    "adm:base_channels=8,channel_multipliers=1/2,blocks_per_level=1",
    "edm2:base_channels=8,channel_multipliers=1/2,blocks_per_level=1,channels_per_head=8",
    "mp_unet:base_channels=8,channel_multipliers=1/2,blocks_per_level=1",
)


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sides", [(8, 8), (11, 5), (3, 16), (1, 1), (28, 2)])
def test_two_dimensions_are_those_of_pytorch(sides: tuple[int, int]) -> None:
    x = _draw(2, 3, 7, 8).double()
    expected = torch.nn.functional.interpolate(x, sides, mode="bicubic", antialias=True, align_corners=False)
    assert torch.allclose(fields.resampled(x, sides), expected, atol=1e-12)


def test_cubic_convolution_has_third_order() -> None:
    """Within the grid, cubics of Keys' kernel reproduce parabolas exactly."""
    places = torch.arange(12, dtype=torch.float64)
    fine = (torch.arange(48, dtype=torch.float64) + 0.5) / 4 - 0.5
    made = fields.resampled((places**2)[None, None], [48])[0, 0]
    assert torch.allclose(made[8:-8], fine[8:-8] ** 2, atol=1e-12)
    volumes = fields.resampled(torch.full((1, 1, 3, 4, 5), 2.0), (6, 2, 5))
    assert torch.allclose(volumes, torch.full((1, 1, 6, 2, 5), 2.0))


@pytest.mark.parametrize("part", NETWORKS)
def test_every_network_sees_the_field(part: str, tmp_path: Path) -> None:
    """The output depends on it once the network has learned anything, and the model folder keeps it."""
    torch.manual_seed(0)
    network = ed.networks.build(f"{part},condition_channels=2", (1, 8, 8), label_dim=3)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    denoiser = ed.Denoiser(network, ed.preconditioning.EDM()).eval()
    denoiser.facts["data"] = {"condition_shape": [2, 4, 4]}
    x, field, rows = _draw(2, 1, 8, 8), _draw(2, 2, 4, 4, seed=1), torch.eye(3)[:2]
    given = denoiser(x, 1.0, {"field": field, "labels": rows})
    assert given.shape == x.shape
    assert not torch.allclose(given, denoiser(x, 1.0, {"field": field.flip(0), "labels": rows}), atol=1e-5)
    assert not torch.allclose(given, denoiser(x, 1.0, {"field": field, "labels": rows.flip(0)}), atol=1e-5)
    assert torch.equal(given, denoiser(x, 1.0, {"field": field, "labels": [0, 1]}))
    whole = fields.resampled(field, (8, 8))
    assert torch.allclose(given, denoiser(x, 1.0, {"field": whole, "labels": rows}), atol=1e-6)
    denoiser.save(tmp_path / "model")
    loaded = ed.load(tmp_path / "model")
    assert torch.equal(loaded(x, 1.0, {"field": field, "labels": rows}), given)
    assert loaded.known_labels.described == "conditions of shape (2, 4, 4) and labels of 3 classes"


def _model(settings: str = "", label_dim: int = 0) -> ed.Denoiser:
    torch.manual_seed(0)
    network = ed.networks.build(f"{NETWORKS[4]},condition_channels=2{settings}", (1, 8, 8), label_dim=label_dim)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return ed.Denoiser(network, ed.preconditioning.EDM()).eval()


def test_what_does_not_fit_is_told() -> None:
    model, x = _model(), _draw(2, 1, 8, 8)
    for labels, message in (
        (None, r"was given none: give labels=\{'field': tensor \(B, 2, 8, 8\)\}, or --condition"),
        ({"fields": x}, "there is no condition 'fields'"),
        ({"field": x}, r"the condition has shape \(2, 1, 8, 8\), but the model takes \(B, 2, 8, 8\)"),
        ({"field": _draw(3, 2, 8, 8)}, "there are 3 'field' rows for 2 samples"),
        ({"field": torch.zeros(2, 2, 8, 8, dtype=torch.uint8)}, "the condition is torch.uint8: give it in units"),
        ({"field": _draw(2, 2, 8, 8), "labels": [0, 1]}, "given to a denoiser without classes"),
    ):
        with pytest.raises(ValueError, match=message):
            model(x, 1.0, labels)
    with pytest.raises(ValueError, match="was given none"):
        ed.sample(model, 2, ed.steps.Karras(2))
    bare = ed.Denoiser(ed.networks.build(NETWORKS[0], (1, 8, 8)), ed.preconditioning.EDM())
    with pytest.raises(ValueError, match="mapping of conditions"):
        bare(x, 1.0, {"field": x})


def test_samples_depend_on_their_own_condition_alone() -> None:
    model, field = _model(label_dim=3), _draw(5, 2, 4, 4)
    whole = ed.Sampler(n=3).run(model, range(5), {"field": field}, batch_size=4)
    part = ed.Sampler(n=3).run(model, [3, 1], {"field": field[[3, 1]]}, batch_size=4)
    assert torch.equal(whole.x[[3, 1]], part.x)
    alone = ed.sample(model, 5, ed.steps.Karras(3), labels={"field": field, "labels": whole.labels["labels"]})  # type: ignore[index,call-overload]
    assert torch.allclose(alone, whole.x, atol=1e-5)


def test_guidance_leads_away_from_no_condition() -> None:
    model, x, field = _model(",condition_dropout=0.1", label_dim=3), _draw(2, 1, 8, 8), _draw(2, 2, 8, 8, seed=1)
    without, given = model(x, 1.0), model(x, 1.0, {"field": field, "labels": [0, 1]})
    zeros = model(x, 1.0, {"field": torch.zeros(2, 2, 8, 8)})
    assert not torch.allclose(without, zeros, atol=1e-5)  # a field of zeros is a field
    guided = ed.guided.ClassifierFree(model, 3.0)(x, 1.0, {"field": field, "labels": [0, 1]})
    assert torch.allclose(guided, without + 3 * (given - without), atol=1e-5)
    with pytest.raises(ValueError, match=r"trained without condition dropout.*network.condition_dropout 0.1"):
        ed.guided.ClassifierFree(_model(), 3.0)


def test_dropout_leaves_out_whole_fields() -> None:
    model = _model(",condition_dropout=0.5,dropout=0").train()
    x, field = _draw(1, 1, 8, 8).expand(64, 1, 8, 8), _draw(1, 2, 8, 8, seed=1)
    torch.manual_seed(0)
    made = model(x, 1.0, {"field": field})
    model.eval()
    with_it, without = model(x[:1], 1.0, {"field": field}), model(x[:1], 1.0)
    kept = (made - with_it).flatten(1).norm(dim=1) < 1e-4
    left_out = (made - without).flatten(1).norm(dim=1) < 1e-4
    assert int(kept.sum() + left_out.sum()) == 64
    assert 20 <= int(kept.sum()) <= 44
