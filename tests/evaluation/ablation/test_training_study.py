"""Filling a table about training: the right runs with the right seeds, compared alike, resumed to the same bits."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import elucidiff as ed
from elucidiff.evaluation.ablation.cells import LOSS, Cell, fill
from elucidiff.evaluation.ablation.studies import TrainingAblation
from elucidiff.evaluation.ablation.training import (
    RECIPES,
    TRAINING_CONFIGURATIONS,
    augmentation_configurations,
    configure,
)
from elucidiff.launch.interrupt import StoppedError
from elucidiff.networks import DDPMPPSettings
from elucidiff.sampling import Sampler
from elucidiff.training.batches import TrainingData
from elucidiff.training.config import TrainingConfig
from tests.evaluation.ablation.ledgers import MeanEvaluator, MemoryLedger

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def recipe(pictures: str) -> TrainingConfig:
    network = DDPMPPSettings(
        base_channels=4, channel_multipliers=(2, 2), blocks_per_level=1, attention_resolutions=(), dropout=0.0
    )
    return replace(
        RECIPES["digits"],
        data=pictures,
        network=network,
        validation_images=10,
        duration_images=96,
        batch_size=16,
        log_images=16,
        checkpoint_images=32,
        device="cpu",
    )


def ablation(recipe: TrainingConfig, folder: Path, names: str = "ef", seeds: int = 2) -> TrainingAblation:
    configs = {each.name: configure(each, recipe, SHAPE) for each in TRAINING_CONFIGURATIONS if each.name in names}
    return TrainingAblation(
        configs,
        folder,
        recipe,
        TrainingData.open(recipe),
        Sampler(),
        5,
        seeds=seeds,
        images=4,
        evaluator=MeanEvaluator(),
    )


@pytest.fixture(scope="module")
def whole(recipe: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[MemoryLedger, TrainingAblation]:
    ledger, study = MemoryLedger(), ablation(recipe, tmp_path_factory.mktemp("runs"))
    fill(study, ledger)
    return ledger, study


def test_each_model_is_evaluated_by_its_own_samples(whole: tuple[MemoryLedger, TrainingAblation]) -> None:
    ledger, study = whole
    assert len(ledger.found) == 2 * 2 * 3
    for cell in study.cells():
        denoiser = ed.load(study.run_folder(cell) / "model").eval()
        seeds = range(4 * cell.seed, 4 * cell.seed + 4)
        x = Sampler(steps="karras:n=3").run(denoiser, seeds).x
        assert ledger.found[cell, "mean"] == pytest.approx(float(x.mean()), rel=1e-9)
        saved = TrainingConfig.load(study.run_folder(cell) / "config.yaml")
        assert saved.seed == cell.seed
        assert bool(saved.augment.active) == (cell.configuration == "f")
    assert len(set(ledger.found.values())) == 2 * 2 * 2 + 1  # all differ but the number of images


def test_columns_of_a_figure(whole: tuple[MemoryLedger, TrainingAblation], recipe: TrainingConfig) -> None:
    _, study = whole
    cell = study.cells()[-1]
    shared = {"solver": "heun", "steps": "karras", "rho": 7.0, "churn": 0.0, "model": "f-seed-1"}
    loss, count = study.columns(cell, LOSS), study.columns(cell, "count")
    assert shared.items() <= loss.items()
    assert shared.items() <= count.items()
    assert (loss["images"], "seeds" in loss) == (recipe.validation_images, False)
    assert (count["images"], count["seeds"], count["lower_is_better"]) == (4, "4-7", False)


def test_held_out_losses_are_weighed_alike(
    recipe: TrainingConfig, whole: tuple[MemoryLedger, TrainingAblation]
) -> None:
    """Against Eq. 8, with the same noise at many draws of p_train."""
    ledger, study = whole
    cell = Cell("e", 5, 1)
    denoiser = ed.load(study.run_folder(cell) / "model").eval()
    held_out = TrainingData.open(recipe).held_out
    assert held_out is not None
    images, labels = ed.data.to_unit(held_out.images()), held_out.labels()
    assert labels is not None
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).repeat(200, 1, 1, 1)
    objective = recipe.objective
    sigma = objective.noise.from_base(torch.randn(len(noise), generator=torch.Generator().manual_seed(7)))
    with torch.no_grad():
        loss: Tensor = objective.loss(denoiser, images.repeat(200, 1, 1, 1), sigma, noise, labels.repeat(200, 1))
    assert ledger.found[cell, LOSS] == pytest.approx(float(loss.mean()), rel=0.02)


def test_stopped_and_killed_it_ends_with_the_same_table(
    recipe: TrainingConfig, whole: tuple[MemoryLedger, TrainingAblation], tmp_path: Path
) -> None:
    ledger, stopped = MemoryLedger(), 0
    for moment in (1, 3, 5, 8, 2):
        left = moment

        def tick(cell: Cell, share: float) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGTERM) if 0 < share < 1 else _die()

        try:
            fill(ablation(recipe, tmp_path), ledger, tick=tick)
        except (StoppedError, InterruptedError):
            stopped += 1
    fill(ablation(recipe, tmp_path), ledger)
    assert stopped >= 3
    assert ledger.found == whole[0].found


def _die() -> None:
    raise InterruptedError


def test_the_number_of_images_is_the_work(recipe: TrainingConfig, tmp_path: Path) -> None:
    study = ablation(recipe, tmp_path, "af", 1)
    assert [study.work(cell) for cell in study.cells()] == [96, 96]
    # A batch of a quarter of the size takes longer for each image.
    slow, fast = (study.seconds(cell) for cell in study.cells())
    assert slow > fast > 0


def test_augmentation_on_grey_and_colour_images() -> None:
    grey, colour = ({row.name: row.options for row in augmentation_configurations(0.2, (c, 8, 8))} for c in (1, 3))
    assert grey["paper"] == colour["paper"]
    assert grey["paper"].active == ("xflip", "yflip", "scale", "rotate_frac", "aniso", "translate_frac")
    assert grey["corruption"].active == ("brightness", "contrast", "lumaflip")
    assert colour["corruption"].active == ("brightness", "contrast", "lumaflip", "hue", "saturation")
    assert colour["paper-corruption"].active == (*colour["paper"].active, *colour["corruption"].active)
    for name in ("xflip", "yflip", "scale", "rotate_frac", "aniso", "translate_frac"):
        assert grey[name].active == (name,)
        assert getattr(grey[name], name) == getattr(grey["paper"], name)
    assert {options.p for name, options in grey.items() if name != "none"} == {0.2}
    assert [row.name for row in augmentation_configurations(0.2, (4, 8, 8))][-3] == "paper"
    with pytest.raises(ValueError, match="p is 0"):
        augmentation_configurations(0.0, (1, 8, 8))
    with pytest.raises(ValueError, match="2-D images"):
        augmentation_configurations(0.1, (1, 8))
