"""Samplers beside a model: there and back, only for their own weights, and nothing else believed."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import elucidiff as ed
from elucidiff.denoisers.guided import Guidance
from elucidiff.denoisers.model_folder import checksum
from elucidiff.design.steps import Levels
from elucidiff.sampling import NamedSampler, Sampler, load_named, save_named
from elucidiff.sampling.churn import Churn
from elucidiff.sampling.saved_samplers import Quality, names_beside, path_of, read_named
from tests.sampling.tiny_model import save_tiny_model

LEVELS = (80.0, 5.5, 0.7, 0.03, 0.0)


def named(model: str, name: str = "fast") -> NamedSampler:
    sampler = Sampler(steps=Levels(LEVELS), solver="ipndm:order=3")
    return NamedSampler(name, sampler, model, 4, 0.1, 1e-4, "9-12", 0.3, 8.5, "1-4", "elucidiff steps optimise")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "model")


def test_there_and_back(model: Path) -> None:
    for sampler in (
        named("").sampler,
        Sampler(schedule="edm:scaling=vp", churn=Churn(amount=3.0), guidance=Guidance(weight=1.5, sigma_max=2.0)),
    ):
        kept = dataclasses.replace(named(checksum(model)), sampler=sampler, warm_up_seeds=None)
        assert save_named(model, kept) == model / "samplers" / "fast.json"
        assert load_named(model, "fast") == kept
        assert load_named(model, str(model / "samplers" / "fast.json")) == kept
    save_named(model, named(checksum(model), "a-2.b"))
    assert names_beside(model) == ["a-2.b", "fast"]
    # A model folder is one all the same, and samples with the levels that are in the file.
    sampler = load_named(model, "a-2.b").sampler
    assert sampler.run(ed.load(model), [1]).sigmas.tolist() == list(LEVELS)


def test_one_that_adds_noise_has_a_quality_instead_of_an_error(model: Path) -> None:
    quality = Quality("fid", 0.23, 0.01, 0.28, None, "20-39", 2)
    kept = NamedSampler(
        "s",
        Sampler(churn=Churn(amount=3.0)),
        checksum(model),
        35,
        *[None] * 5,
        "1-4",
        "search",
        quality,
    )  # type: ignore[arg-type]
    save_named(model, kept)
    assert load_named(model, "s") == kept
    with pytest.raises(ValueError, match="base_value is inf"):
        dataclasses.replace(kept, quality=dataclasses.replace(quality, base_value=math.inf))


def test_other_weights_are_refused(model: Path) -> None:
    save_named(model, named(checksum(model)))
    denoiser = ed.load(model)
    denoiser.facts["provenance"]["images_seen"] = 1
    denoiser.save(model)
    assert load_named(model, "fast").nfe == 4  # the same weights
    with torch.no_grad():
        next(iter(denoiser.network.parameters())).add_(1e-3)
    denoiser.save(model)
    assert names_beside(model) == ["fast"]
    with pytest.raises(ValueError, match=r"was made for other weights than those of .*--any-model") as caught:
        load_named(model, "fast")
    assert "\n" not in str(caught.value)
    assert load_named(model, "fast", any_model=True).sampler.steps == Levels(LEVELS)


def test_unknown_names_and_paths(model: Path) -> None:
    with pytest.raises(ValueError, match="has no samplers yet, so none is called 'fast': make some with"):
        load_named(model, "fast")
    save_named(model, named(checksum(model)))
    with pytest.raises(ValueError, match="has no sampler 'fats'; did you mean 'fast'"):
        load_named(model, "fats")
    with pytest.raises(FileNotFoundError, match=r"there is no sampler elsewhere/x\.json"):
        load_named(model, "elsewhere/x.json")
    with pytest.raises(FileNotFoundError, match="there is no model folder"):
        load_named(model / "nowhere", "fast")
    for name in ("", "a/b", "../a", ".hidden", "a b", "x.json", "ü"):
        with pytest.raises(ValueError, match="cannot name a sampler"):
            path_of(model, name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: {**values, "format": "x"}, "does not say format 'elucidiff-sampler'"),
        (lambda values: [values], "does not say format"),
        (lambda values: {**values, "version": 3}, "has version 3, but this program reads 2"),
        (lambda values: {**values, "error": math.nan}, "error is nan"),
        (lambda values: {**values, "error": "small"}, "error is 'small', but must be a number"),
        (lambda values: {**values, "nfe": 2.5}, "nfe is 2.5"),
        (lambda values: {**values, "name": "../up"}, "cannot name a sampler"),
        (lambda values: {**values, "eror": 1}, "unknown field 'eror'"),
        (lambda values: {key: value for key, value in values.items() if key != "model"}, "'model' is missing"),
        (lambda values: {**values, "sampler": 3}, "says nothing of the sampler"),
        (
            lambda values: {**values, "sampler": {"steps": {"type": "levels", "levels": [3.0, 5.0, 0.0]}}},
            "must decrease",
        ),
        (
            lambda values: {**values, "sampler": {"steps": {"type": "levels", "levels": [3.0, 1.0]}}},
            "the last of sigmas is 1",
        ),
        (lambda values: {**values, "sampler": {"steps": {"type": "levels"}}}, "steps levels needs levels"),
    ],
)
def test_damaged_files(model: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    path = save_named(model, named(checksum(model)))
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=message) as caught:
        read_named(path)
    assert str(path) in str(caught.value)


def test_truncated_files(model: Path) -> None:
    path = save_named(model, named(checksum(model)))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"fast\.json is damaged"):
        load_named(model, "fast")


def test_levels_of_a_sampler() -> None:
    sampler = Sampler(steps=Levels(LEVELS))
    assert Sampler.from_plain(json.loads(json.dumps(sampler.to_plain()))) == sampler
    assert sampler.sigmas(None).tolist() == list(LEVELS)

    class Limited:
        sigma_min, sigma_max = 0.05, 100.0

    with pytest.raises(
        ValueError, match=r"the noise levels go from 80 to 0.03, but the denoiser supports 0.05 to 100"
    ):
        sampler.sigmas(Limited())
    for levels, message in (
        ((5.0,), "has shape"),
        ((), "has shape"),
        ((5.0, 1.0), "must be 0"),
        ((1.0, 5.0, 0.0), "decrease"),
    ):
        with pytest.raises(ValueError, match=message):
            Sampler(steps=Levels(levels))
    with pytest.raises(ValueError, match="levels of steps levels is 'x', but must be a list, each a number"):
        Sampler.from_plain({"steps": {"type": "levels", "levels": "x"}})
