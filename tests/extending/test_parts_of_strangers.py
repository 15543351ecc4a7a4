"""A stranger's part of each kind, in one file of docs/extending.md, does in the library and on the command line what
ours do."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import elucidiff as ed
from elucidiff import parts
from elucidiff.evaluation.results import read_results, write_results
from tests.extending.conftest import FILES, PAGE, Run, exact, forget, use
from tests.figures.rows import measured

KINDS = {
    "my_solver.py": ("solver", "ab2"),
    "my_renoise.py": ("solver", "renoise"),
    "my_schedule.py": ("schedule", "tangent"),
    "my_steps.py": ("steps", "sigmoid"),
    "my_preconditioning.py": ("preconditioning", "velocity"),
    "my_objective.py": ("objective", "min_snr"),
    "my_network.py": ("network", "plain"),
    "my_lr_schedule.py": ("learning rate schedule", "halving"),
    "my_metric.py": ("metric", "mean_shift"),
    "my_extractor.py": ("feature extractor", "moments"),
    "my_figure.py": ("figure", "brightness"),
    "my_results_figure.py": ("figure", "value_against_rho"),
    "my_format.py": ("format", "gaussian_text"),
    "my_autoencoder.py": ("autoencoder", "haar"),
    "my_condition.py": ("condition", "edges"),
    "my_pair_metric.py": ("pair metric", "bias"),
    "my_verb.py": ("verb", "range"),
}


def test_the_page_has_a_file_of_under_40_lines_for_each_kind() -> None:
    assert set(KINDS) == set(FILES)
    for name, content in FILES.items():
        lines = [line for line in content.splitlines() if line.strip()]
        assert len(lines) < 40, name


@pytest.mark.parametrize("file", KINDS)
def test_it_is_listed_and_explained_where_the_plugin_is_named(file: str, run: Run) -> None:
    kind, name = KINDS[file]
    refused = run("parts", kind, name, code=2)
    assert f"there is no {kind} {name!r}" in refused
    assert "--plugin MODULE" in refused
    assert refused.count("\n") == 1
    summary = parts.summary(_class(file))
    forget(file)
    assert f"{name} " in run("parts", kind, "--plugin", file)
    explained = run("parts", kind, name, "--plugin", file)
    assert explained.startswith(f"{kind} {name}: {summary}")


@pytest.mark.parametrize("file", [name for name, (kind, _) in KINDS.items() if kind not in ("figure", "verb")])
def test_text_and_plain_form_are_inverses(file: str) -> None:
    kind, _ = KINDS[file]
    value = _class(file)()
    assert parts.parse(kind, parts.to_text(value)) == value
    assert parts.from_plain(kind, json.loads(json.dumps(parts.to_plain(value)))) == value


def test_a_solver_samples_is_kept_and_searched_over(model: Path, run: Run) -> None:
    plugin = ("--plugin", "my_solver.py")
    few = ("--seeds", "0-1", "--steps", "karras:n=4", "--processes", "1")
    run("sample", model, *few, "--solver", "ab2:strength=0.5", "--out", "mine", *plugin)
    assert json.loads(Path("mine/samples.json").read_text())["sampler"]["solver"] == {"type": "ab2", "strength": 0.5}
    sampler = ed.Sampler(steps="karras:n=4", solver="ab2:strength=0.5")
    assert ed.Sampler.parse(sampler.to_text()) == sampler
    assert ed.Sampler.from_plain(sampler.to_plain()) == sampler
    found = sampler.run(ed.load(model), 2).x
    assert found.isfinite().all()
    # The other choices are independent of it.
    run("sample", model, *few, "--solver", "ab2", "--schedule", "tangent", "--out", "both", *plugin,
        "--plugin", "my_schedule.py")  # fmt: skip
    forget("my_solver.py")
    refused = run("sample", model, *few, "--solver", "ab2", "--out", "none", code=2)
    assert "there is no solver 'ab2'" in refused
    assert "--plugin MODULE" in refused
    assert not Path("none").exists()


def test_a_solver_in_noise_levels_has_its_limits_on_any_schedule() -> None:
    """share = 0 is DDIM; share = 1 draws at the end of each step D + sigma' n; and the page's check as it stands."""
    use("my_renoise.py")
    levels = [math.inf, 10.0, 1.0, 1.0, 0.2, 0.0]
    for schedule in ("edm", "vp", "flow"):
        ddim, ours = (
            ed.sample(exact(), 3, levels, solver=solver, schedule=schedule)
            for solver in ("dpmpp_1", "renoise:share=0")
        )
        torch.testing.assert_close(ours, ddim, rtol=1e-12, atol=1e-12)
        record: list[ed.sampling.Step] = []
        drawn = ed.SeededNoise([3, 4])
        latents = drawn.latents((1,)).double()
        choices = {"solver": "renoise:share=1", "schedule": schedule, "noise": drawn, "callback": record.append}
        ed.sample(exact(), latents, [10.0, 1.0, 0.2, 0.0], **choices)
        noise = ed.SeededNoise([3, 4])
        noise.latents((1,))
        for index, (before, after) in enumerate(pairwise(record)):
            y = after.x / float(ed.parts.parse("schedule", schedule).scale(after.t))
            expected = before.denoised + after.sigma * noise(latents, index)
            torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    (check,) = re.findall(r"    (exact = .*\n)    (x = .*\n)", PAGE)
    names = {"ed": ed, "torch": torch}
    exec("".join(check), names)  # of our own page
    x = names["x"]
    assert x.shape == (4096, 1)
    assert float(x.mean()) == pytest.approx(1.5, abs=4 * 0.5 / 64)
    assert float(x.std()) == pytest.approx(0.5, rel=0.1)  # 4 sqrt(1 / 8192) = 4 %, and the steps


@pytest.mark.slow
def test_a_solver_is_sampled_with_by_other_processes(model: Path, run: Run) -> None:
    few = (
        "--seeds",
        "0-3",
        "--batch-size",
        "2",
        "--steps",
        "karras:n=3",
        "--solver",
        "ab2",
        "--plugin",
        "my_solver.py",
    )
    run("sample", model, *few, "--processes", "2", "--out", "two")
    run("sample", model, *few, "--processes", "1", "--out", "one")
    for seed in range(4):
        one, two = (sorted(Path(out).glob(f"*{seed}.*"))[0].read_bytes() for out in ("one", "two"))
        assert one == two


def test_a_solver_has_its_order() -> None:
    use("my_solver.py")
    denoiser = ed.ideal.DataPosterior(torch.tensor([[-1.0], [0.5], [1.0]], dtype=torch.float64))
    latents = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)[:, None]

    def end(solver: str, n: int) -> torch.Tensor:
        """The samples at a noise level of 0.3: the last step, to 0, is as long for any n."""
        seen = []
        ed.sample(
            denoiser, latents, ed.steps.karras(n, 0.3, 20.0), solver=solver, callback=lambda s: seen.append(s.x)
        )
        return seen[-1]

    fine = end("heun", 1000)
    errors = {name: [float((end(name, n) - fine).abs().max()) for n in (80, 160)] for name in ("ab2", "euler")}
    assert math.log2(errors["ab2"][0] / errors["ab2"][1]) > 1.6
    assert errors["ab2"][1] < errors["euler"][1] / 5
    torch.testing.assert_close(end("ab2:strength=0", 20), end("euler", 20), rtol=1e-12, atol=1e-12)


def test_a_schedule_is_what_it_says() -> None:
    tangent = _class("my_schedule.py")()
    t = torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
    torch.testing.assert_close(tangent.time(tangent.sigma(t)), t)
    torch.testing.assert_close(tangent.scale(t), torch.cos(t * math.pi / 2))
    step = 1e-6
    slope = (tangent.sigma(t + step) ** 2 - tangent.sigma(t - step) ** 2) / (2 * step)
    torch.testing.assert_close(tangent.variance_dot(t), slope, rtol=1e-6, atol=0)
    # With steps in noise levels, DDIM does not depend on the schedule's time but for the solver's straight lines.
    denoiser = ed.ideal.DataPosterior(torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
    latents = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    ends = [ed.sample(denoiser, latents, ed.steps.karras(400), schedule=name) for name in ("tangent", "edm")]
    torch.testing.assert_close(*ends, rtol=0, atol=2e-3)


def test_steps_are_searched_over(run: Run) -> None:
    spaced = _class("my_steps.py")(n=9)
    levels = spaced.within()
    assert levels.shape == (10,)
    np.testing.assert_allclose([levels[0], levels[-2], levels[-1]], [80, 0.002, 0], rtol=1e-12)
    assert (levels.diff() < 0).all()
    sampler = ed.Sampler(steps="sigmoid:n=5").with_settings({"steps.steepness": 2})
    assert sampler.to_text() == "steps=sigmoid:n=5,steepness=2"


@pytest.mark.slow
def test_a_search_draws_from_the_ranges_of_a_stranger(model: Path, run: Run) -> None:
    plugins = ("--plugin", "my_solver.py", "--plugin", "my_steps.py")
    run("search", model, "--metric", "error", "--over", "solver.strength", "steps.steepness", "--solver", "ab2",
        "--steps", "sigmoid:n=4", "--trials", "3", "--seeds", "0-3", "--fresh-seeds", "4-7", "--name", "mine",
        "--device", "cpu", *plugins)  # fmt: skip
    run("sample", model, "--sampler", "mine", "--seeds", "0", "--out", "mine", *plugins)
    for file in ("my_solver.py", "my_steps.py"):
        forget(file)
    assert "--plugin MODULE" in run("sample", model, "--sampler", "mine", "--seeds", "0", "--out", "no", code=2)


def test_a_model_with_a_strangers_preconditioning_is_saved_and_loaded(model: Path, run: Run) -> None:
    velocity = _class("my_preconditioning.py")(sigma_max=50.0)
    sigma = torch.tensor([0.1, 1.0, 10.0])
    # D(x) = x - sigma F for v-prediction: with x = sqrt(1 + sigma^2) and F = 0, D = c_skip x.
    torch.testing.assert_close(velocity.c_skip(sigma) + velocity.c_out(sigma) ** 2, torch.ones(3))
    denoiser = ed.Denoiser(ed.load(model).network, velocity)
    denoiser.save("theirs")
    assert ed.load("theirs").preconditioning == velocity
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ed.load("theirs")(x, sigma[:2]), denoiser.eval()(x, sigma[:2]))
    forget("my_preconditioning.py")
    few = ("--seeds", "0", "--n", "3", "--out")
    refused = run("sample", "theirs", *few, "no", code=2)
    assert "there is no preconditioning 'velocity'" in refused
    assert "--plugin MODULE" in refused
    run("sample", "theirs", *few, "yes", "--plugin", "my_preconditioning.py")
    assert json.loads(Path("yes/samples.json").read_text())


def test_an_objective_has_its_weight_and_its_loss() -> None:
    objective = _class("my_objective.py")(gamma=4.0)
    torch.testing.assert_close(objective.weight(torch.tensor([0.1, 0.5, 2.0])), torch.tensor([4.0, 4.0, 0.25]))
    images = torch.zeros(3, 1, 2, 2)
    loss = objective.loss(
        lambda x, sigma, labels=None: images + 1, images, generator=torch.Generator().manual_seed(0)
    )
    sigma = objective.noise.sample((3,), torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss[:, 0, 0, 0], objective.weight(sigma))


def test_a_network_with_their_objective_and_schedule_is_trained_saved_and_sampled(run: Run) -> None:
    flags = [word for name in ("network", "objective", "lr_schedule") for word in ("--plugin", f"my_{name}.py")]
    words = (
        "train", "digits", "--no-conditional", "--run-dir", "run", "--duration-images=64", "--batch-size=32",
        "--validation-images=0", "--memorisation-samples=0", "--log-images=32", "--device=cpu", "--compile=off",
        "--lr-ramp-images=32", "--lr=0.01",
    )  # fmt: skip
    chosen = ("--network", "plain:width=5", "--objective", "min_snr:gamma=4", "--lr-decay", "halving:images=32")
    run(*words, *chosen, *flags)
    training = ed.load("run/model").facts["provenance"]["training"]
    assert training["network"] == {"type": "plain", "width": 5}
    assert training["objective"] == {"type": "min_snr", "gamma": 4.0, "p_mean": -1.2, "p_std": 1.2}
    rates = [json.loads(line)["lr"] for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert rates == [0.0, 0.005]  # on the ramp, and once halved
    assert sum(weight.numel() for weight in ed.load("run/model").network.parameters()) == 5 * 18 + 5 + 45 + 1
    few = ("--seeds", "0", "--n", "3", "--out")
    forget("my_network.py")
    refused = run("sample", "run/model", *few, "no", code=2)
    assert "there is no network 'plain'" in refused
    assert "--plugin MODULE" in refused
    assert refused.count("\n") == 1
    run("sample", "run/model", *few, "yes", "--plugin", "my_network.py")
    assert json.loads(Path("yes/samples.json").read_text())


def test_a_metric_and_an_extractor_evaluate_images(run: Run) -> None:
    random = np.random.default_rng(0)
    real = random.integers(0, 200, (60, 1, 4, 4)).astype(np.uint8)
    np.savez("real.npz", images=real)
    np.savez("brighter.npz", images=real + 40)
    plugin = ("--plugin", "my_metric.py", "--plugin", "my_extractor.py")
    words = ("evaluate", "brighter.npz", "real.npz", "--extractor", "moments:highest=2", "--cache", "cache")
    table = run(*words, "--metrics", "fid,mean_shift", *plugin)
    assert "| Mean shift |" in table
    results = json.loads(Path("evaluation/results.json").read_text())
    features = [np.stack([(values**k).mean(1) for k in (1, 2)], 1) for values in
                ((image.reshape(60, -1) / 127.5 - 1) for image in (real, real + 40))]  # fmt: skip
    std = np.sqrt(np.trace(np.cov(features[0], rowvar=False)))
    shift = np.linalg.norm(features[1].mean(0) - features[0].mean(0)) / std
    assert results["metrics"]["mean_shift"]["value"] == pytest.approx(shift, rel=1e-6)
    assert 0 < results["metrics"]["mean_shift"]["error"] < shift
    for file in ("my_metric.py", "my_extractor.py"):
        forget(file)
    refused = run(*words, "--metrics", "fid,mean_shift", "--overwrite", "--plugin", "my_extractor.py", code=2)
    assert "mean_shift" in refused
    assert "--plugin MODULE" in refused
    forget("my_extractor.py")
    refused = run(*words, "--overwrite", code=2)
    assert "moments" in refused
    assert "--plugin MODULE" in refused


def test_a_figure_is_drawn_and_drawn_again(run: Run) -> None:
    plugin = ("--plugin", "my_figure.py")
    images = np.arange(20, dtype=np.uint8)[:, None, None, None].repeat(4, 2).repeat(4, 3) * 10
    np.savez("images.npz", images=images)
    assert "--bins" in run("figure", "brightness", "--help", *plugin)
    run("figure", "brightness", "images.npz", "--bins", "5", "--out", "first.png", *plugin)
    with np.load("first.npz") as kept:
        assert kept["counts"].tolist() == [4, 4, 4, 4, 4]
    run("figure", "saved", "first.npz", "--out", "again.png", *plugin)
    assert Path("again.png").read_bytes() == Path("first.png").read_bytes()
    forget("my_figure.py")
    refused = run("figure", "saved", "first.npz", "--out", "no.png", code=2)
    assert "'brightness'" in refused
    assert "--plugin MODULE" in refused


def test_a_figure_of_results_is_drawn(run: Run) -> None:
    rows = [row for rho in (3.0, 7.0) for row in measured(f"rho {rho:g}", 18, 35, (rho / 10, rho / 8), rho=rho)]
    write_results(Path("table"), rows)
    words = ("figure", "value-against-rho", "table", "--metric", "fid", "--out", "rho.png")
    assert "--plugin MODULE" in run(*words, code=2)
    assert run(*words, "--plugin", "my_results_figure.py") == "rho.png\nrho.svg\n"
    figure = _class("my_results_figure.py")(Path("table"), "fid").draw()
    drawn = figure.axes[0].collections[0].get_offsets().data.tolist()
    assert drawn == [[row.rho, row.value] for row in read_results(Path("table"))]
    assert "values against rho" in run("figure", "--help", "--plugin", "my_results_figure.py")
    asked = run("figure", "value-against-rho", "table", "--only", "rho 5", "--plugin", "my_results_figure.py", code=2)
    assert "there is no configuration 'rho 5'" in asked


def test_a_format_is_opened_by_the_library_and_by_verbs(run: Run) -> None:
    Path("model.txt").write_text("gaussian 0.25 1 4 4")
    with pytest.raises(ValueError, match="--plugin MODULE"):
        ed.load("model.txt")
    few = ("sample", "model.txt", "--seeds", "0-3", "--n", "20", "--out", "out", "--processes", "1")
    assert "--plugin MODULE" in run(*few, code=2)
    run(*few, "--plugin", "my_format.py")
    # The exact denoiser of N(0, 0.25^2): samples of that standard deviation.
    x = ed.Sampler(steps="karras:n=80").run(ed.load("model.txt"), 200).x
    assert float(x.std()) == pytest.approx(0.25, rel=0.04)


def test_an_autoencoder_encodes_a_set(files: Path, run: Run) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), np.uint8)
    np.save("pictures.npy", pixels)
    flags = ("--encode", "haar:levels=2")
    assert "no autoencoder haar:levels=2" in run("data", "import", "pictures.npy", "set", *flags, code=2)
    run("data", "import", "pictures.npy", "set", *flags, "--plugin", "my_autoencoder.py")
    latents = np.load("set/images.npy")
    assert latents.shape == (6, 48, 2, 2)
    unit = pixels / 127.5 - 1
    # The transform is orthonormal, and its first value in each block of 4 x 4 is 4 times the mean.
    np.testing.assert_allclose((latents**2).sum((1, 2, 3)), (unit**2).sum((1, 2, 3)), rtol=1e-5)
    means = unit.reshape(6, 3, 2, 4, 2, 4).mean((3, 5))
    np.testing.assert_allclose(latents[:, ::16], 4 * means, atol=1e-5)
    dataset = ed.data.open("set")
    assert dataset.autoencoder is not None
    back = ed.data.to_uint8(dataset.autoencoder.decode(dataset.images()) + 1e-6)
    assert np.abs(back.numpy().astype(int) - pixels).max() <= 1
    forget("my_autoencoder.py")
    with pytest.raises(ValueError, match=r"there is no autoencoder 'haar'.*--plugin MODULE"):
        _ = dataset.autoencoder


def test_a_verb_runs(model: Path, run: Run) -> None:
    assert run("range", model, "--digits", "2", "--plugin", "my_verb.py") == "0 to inf\n"
    assert "range " in run("--help", "--plugin", "my_verb.py")
    assert "Digits to print." in run("range", "--help", "--plugin", "my_verb.py")
    assert "there is no model folder or file" in run("range", "none", "--plugin", "my_verb.py", code=2)
    forget("my_verb.py")
    assert "--plugin MODULE" in run("range", model, code=2)


def _class(file: str) -> type:
    use(file)
    return parts.find(*KINDS[file])
