"""Training by consistency: the gap follows the run, resuming changes not a bit, and the model says what it is."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from elucidiff.denoisers.model_folder import load
from elucidiff.denoisers.tuned import few_steps, is_tuned
from elucidiff.design.objectives import Consistency, ContinuousConsistency, Objective
from elucidiff.sampling.sampler import Sampler
from elucidiff.training import train
from elucidiff.training.planning import look_at, plan
from elucidiff.training.previews import preview_samples
from tests.training.test_loop import StopAfter, assert_same_run, metrics, tiny


@pytest.fixture(scope="module")
def original(pictures: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("original")
    train(tiny(pictures, duration_images=20), run_dir)
    return run_dir / "model"


@pytest.mark.slow
@pytest.mark.parametrize("objective", [Consistency(), ContinuousConsistency()])
def test_stopped_and_resumed_is_unbroken(objective: Objective, original: Path, pictures: str, tmp_path: Path) -> None:
    """With dropout, dropped labels, augmentation, a batch in two parts, and the gap or the tangent half grown."""
    config = tiny(
        pictures, objective=objective, start_from=str(original), duration_images=40, memorisation_samples=0,
        learned_loss_weighting=isinstance(objective, ContinuousConsistency),
    )  # fmt: skip
    train(config, tmp_path / "unbroken")
    assert train(config, tmp_path / "stopped", callbacks=StopAfter(5)).images_seen == 20
    train(config, tmp_path / "stopped", resume=True)
    assert_same_run(tmp_path / "stopped", tmp_path / "unbroken")
    assert all(math.isfinite(line["loss"]) for line in metrics(tmp_path / "unbroken") if "loss" in line)


def test_the_objective_is_told_how_far_the_run_is(
    pictures: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 20 steps the first five have the widest of four gaps, and so on."""
    seen: list[int] = []
    errors = Consistency.errors

    def note(self: Consistency, ask: object, images: Tensor, *rest: object) -> Tensor:
        seen.append(self.stage)
        return errors(self, ask, images, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Consistency, "errors", note)
    config = tiny(
        pictures, objective=Consistency(stages=4), device_batch_size=None, memorisation_samples=0,
        validation_images=0, checkpoint_images=80,
    )  # fmt: skip
    train(config, tmp_path)
    assert seen == [1] * 5 + [2] * 5 + [3] * 5 + [4] * 5


def test_the_model_says_that_it_was_tuned_and_is_sampled_in_its_own_way(
    original: Path, pictures: str, tmp_path: Path
) -> None:
    config = tiny(pictures, objective=Consistency(), start_from=str(original), duration_images=20)
    train(config, tmp_path)
    model = load(tmp_path / "model")
    assert model.facts["tuned"] == {"original": str(original)}
    assert is_tuned(model)
    assert not is_tuned(load(original))
    assert Sampler.usual(model).to_text() == f"steps={few_steps(2, 0.5)} solver=consistency"
    assert Sampler.usual(load(original)) == Sampler()
    # Previews: the same 40 seeds in 1, 2 and 4 evaluations.
    x, columns = preview_samples(model)
    assert (len(x), columns) == (120, 2)
    labels = torch.eye(2)[torch.arange(40) % 2]
    for rows, n in ((x[:40], 1), (x[40:80], 2), (x[80:], 4)):
        sampler = Sampler(few_steps(n, 0.5), solver="consistency")
        assert torch.equal(rows, sampler.run(model, range(40), labels).x)


def test_levels_of_few_evaluations() -> None:
    """From 160 standard deviations, with the second level of the papers on CIFAR-10, 0.82 for one of 0.5."""
    for n, expected in ((1, [80.0, 0.0]), (2, [80.0, 0.8, 0.0])):
        assert Sampler(few_steps(n, 0.5)).sigmas().tolist() == pytest.approx(expected, rel=1e-9)
    assert Sampler(few_steps(4, 1.0)).sigmas()[[0, -2]].tolist() == pytest.approx([160.0, 1.6 / 2**0.5], rel=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("few", ["consistency", "scm"])
def test_a_tuning_is_planned_for_its_model(few: str, original: Path, pictures: str) -> None:
    """Noise levels scaled to the data, as many images held out as before, a fraction of a new model's rate."""
    found = look_at(pictures)
    made = plan(found, minutes=1, device="cpu", start=str(original), few_evaluations=few)  # type: ignore[arg-type]
    anew = plan(found, minutes=1, device="cpu", start=str(original))
    config = made.config
    assert config.network == load(original).network.blueprint.part
    assert config.validation_images == 8
    assert isinstance(config.objective, Consistency if few == "consistency" else ContinuousConsistency)
    assert config.objective.p_mean == (-1.1 if few == "consistency" else -1.0)  # sigma_data is the paper's, 0.5
    assert config.learned_loss_weighting == (few == "scm")
    assert config.lr == pytest.approx(anew.config.lr / 2, rel=0.2)
    assert replace(config.objective, sigma_data=1.0) != config.objective
