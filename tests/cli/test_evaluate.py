"""``elucidiff evaluate``: what it prints and writes, that it goes on, and what it refuses."""

from __future__ import annotations

import errno
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import elucidiff as ed
from elucidiff import files
from elucidiff.cli.main import main
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.evaluation.quality import BlockStore, Evaluator, open_reference, principal_components
from elucidiff.networks import UNet
from elucidiff.sampling import Sampler
from tests.evaluation.quality.small import script

PCA, COLOURS = ("--extractor", "pca-5"), ("--extractor", "./colours.pt")
FEW = (*PCA, "--n", "3", "--device", "cpu")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ELUCIDIFF_DATA", str(tmp_path / "data"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional network that was not trained."""
    torch.manual_seed(0)
    network = UNet(
        (1, 8, 8),
        base_channels=8,
        channel_multipliers=(1,),
        blocks_per_level=1,
        attention_resolutions=(),
        label_dim=10,
    )
    path = tmp_path_factory.mktemp("model") / "model"
    Denoiser(network, ed.preconditioning.EDM()).save(path)
    return path


@pytest.fixture
def evaluate(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["evaluate", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def results(folder: str = "evaluation") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(folder) / "results.json").read_text())
    return found


def test_a_model(evaluate: Run, model: Path) -> None:
    np.savez("real.npz", images=ed.data.open("digits").images(range(200)).numpy())
    words = (model, "real.npz", *FEW, "--seeds", "7-66", "--metrics", "fid,recall")
    code, out, _ = evaluate(*words)
    assert code == 0
    found = results()
    real = ed.data.open("real.npz")
    components = principal_components(real, 5)
    evaluator = Evaluator(components, open_reference(real, components), ["fid", "recall"])
    rows = evaluator.features(Sampler(steps="karras:n=3").run(ed.load(model), range(7, 67)).x)
    expected = evaluator.quality(rows)
    assert found["metrics"]["fid"]["value"] == expected.metrics["fid"].value
    assert found["metrics"]["fid"]["error"] == expected.metrics["fid"].error
    assert (found["images"], found["nfe"], found["reference_images"]) == (60, 5.0, 200)
    assert "seeds 7-66, 5 network evaluations a sample" in out
    assert f"{expected.extractor} | {expected.reference} | 200 |" in out
    assert (Path("evaluation") / "results.md").read_text() == out
    # Once more: every digit is the same, and nothing is sampled or described again.
    before = Path("evaluation/results.json").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sampler, "run", lambda *_, **__: pytest.fail("sampled again"))
        assert evaluate(*words)[0] == 0
    assert Path("evaluation/results.json").read_bytes() == before


def test_repeats_are_blocks_of_seeds(evaluate: Run, model: Path) -> None:
    words = (*FEW, "--metrics", "fid", "--labels", "3,4")
    assert evaluate(model, "digits", *words, "--seeds", "0-59", "--repeats", "3")[0] == 0
    together = results()["metrics"]["fid"]
    alone = []
    for seeds in ("0-19", "20-39", "40-59"):
        assert evaluate(model, "digits", *words, "--seeds", seeds, "--out", seeds)[0] == 0
        alone.append(results(seeds)["metrics"]["fid"]["value"])
    assert together["values"] == alone
    assert together["error"] == pytest.approx(np.std(alone, ddof=1) / 3**0.5)
    assert results()["images"] == 20


def test_pictures_in_every_form_have_the_same_figures(evaluate: Run) -> None:
    images = ed.data.open("digits").images(range(900, 940)).numpy()
    np.savez("some.npz", images=images)
    np.savez("real.npz", images=ed.data.open("digits").images(range(200)).numpy())
    for folder in ("pngs", "samples"):
        Path(folder).mkdir()
        for k, image in enumerate(images):
            Image.fromarray(image[0]).save(f"{folder}/{k:03d}.png")
    shutil.make_archive("zipped", "zip", "pngs")
    # A folder of samples has a sheet of another size, which is not one of them.
    Image.fromarray(np.zeros((80, 80), np.uint8)).save("samples/grid.png")
    listed = [{"seed": k, "file": f"{k:03d}.png"} for k in range(40)]
    Path("samples/samples.json").write_text(json.dumps({"samples": listed}))
    figures = []
    for name in ("some.npz", "pngs", "zipped.zip", "samples"):
        words = (name, "real.npz", *PCA, "--metrics", "fid,precision", "--out", name + "-out")
        # Each is described anew, in a cache of its own.
        assert evaluate(*words, "--cache", name + "-cache")[0] == 0
        figures.append(results(name + "-out")["metrics"])
    assert 0.6 < figures[0]["precision"]["value"] < 1
    assert all(other == figures[0] for other in figures[1:])


@pytest.mark.parametrize("kind", ["SIGINT", "SIGTERM"])
def test_stopped_it_goes_on(kind: str, evaluate: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*FEW, "--seeds", "0-299", "--metrics", "fid")
    assert evaluate(model, "digits", *words, "--out", "whole")[0] == 0
    drawn, true, stop_at = [], Sampler.run, [160]

    def interrupted(self: Sampler, denoiser: Any, seeds: Any, *others: Any, **more: Any) -> Any:
        drawn.append(seeds[0])
        if seeds[0] in stop_at:
            signal.raise_signal(getattr(signal, kind))
        return true(self, denoiser, seeds, *others, **more)

    monkeypatch.setattr(Sampler, "run", interrupted)
    code, _, err = evaluate(model, "digits", *words)
    assert code == (130 if kind == "SIGINT" else 0)
    assert f"stopped by {kind}, the features so far are kept; the same command goes on" in err
    assert not Path("evaluation/results.json").exists()
    drawn.clear()
    stop_at.clear()
    assert evaluate(model, "digits", *words)[0] == 0
    assert drawn[0] == 128
    for name in ("results.json", "results.md"):
        assert Path("evaluation", name).read_bytes() == Path("whole", name).read_bytes()


def test_other_results_are_not_written_over(evaluate: Run, model: Path) -> None:
    words = (*FEW, "--metrics", "fid")
    assert evaluate(model, "digits", *words, "--seeds", "0-29")[0] == 0
    code, _, err = evaluate(model, "digits", *words, "--seeds", "0-39")
    assert code == 2
    assert "holds the results of another evaluation, whose seeds is 0-29, not 0-39: choose another --out" in err
    assert evaluate(model, "digits", *words, "--seeds", "0-39", "--overwrite")[0] == 0
    Path("evaluation/results.json").write_text("{")
    assert "is damaged: delete it" in evaluate(model, "digits", *words, "--seeds", "0-39")[2]


def refused(evaluate: Run, *words: str | Path) -> str:
    code, _, err = evaluate(*words)
    assert code == 2, err
    lines = [line for line in err.splitlines() if not line.startswith("warning")]
    assert len(lines) == 1, err
    assert not Path("evaluation", "results.json").exists()
    return lines[0]


@pytest.fixture
def sets() -> None:
    """Images that do not fit the digits."""
    generator = np.random.default_rng(0)
    for name, shape, kind in (
        ("large", (30, 1, 16, 16), np.uint8),
        ("rgb", (30, 3, 8, 8), np.uint8),
        ("few", (5, 1, 8, 8), np.uint8),
        ("some", (30, 1, 8, 8), np.uint8),
    ):
        np.savez(f"{name}.npz", images=generator.integers(0, 256, shape).astype(kind))
    np.savez("floats.npz", images=generator.normal(size=(30, 1, 8, 8)).astype(np.float32))
    np.savez("stats.npz", mu=np.zeros(24), sigma=np.eye(24))
    whole = Path("stats.npz").read_bytes()
    Path("damaged.npz").write_bytes(whole[: len(whole) // 2])
    script(Path("colours.pt"))


@pytest.mark.usefixtures("sets")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("large.npz", "digits", *PCA),
            "images have shape (1, 16, 16) (channels, then size), but those of",
        ),
        (("rgb.npz", "digits", *PCA), "images have shape (3, 8, 8)"),
        (("MODEL", "large.npz", *PCA), "images have shape (1, 8, 8)"),
        (("few.npz", "digits", *PCA), "5 images are too few to evaluate: at least 20 are needed"),
        (("some.npz", "few.npz", "--extractor", "pca-2"), "5 reference images are too few"),
        (("MODEL", "digits", *PCA, "--seeds", "0-9"), "10 images are too few"),
        (("some.npz", "digits", *PCA, "--metrics", "fid_infinity", "--repeats", "2"), "15 images are too few"),
        (("floats.npz", "digits", *PCA), "fitted to uint8 images of shape (1, 8, 8), not float32"),
        (("floats.npz", "floats.npz", *COLOURS), "describes 8-bit pictures (1 or 3, H, W), not float32 (1, 8, 8)"),
        (("some.npz", "damaged.npz", *COLOURS), "damaged.npz is damaged, or holds no mu (D,) and sigma (D, D)"),
        (("some.npz", "stats.npz", *PCA), "pca-5 is fitted to the images of the reference, but stats.npz holds"),
        (
            ("some.npz", "stats.npz", "--extractor", "efficientnet-lite0"),
            "24 features of another extractor, but",
        ),
        (
            ("some.npz", "stats.npz", *COLOURS, "--metrics", "kid"),
            "kid compares images, but stats.npz holds",
        ),
        (("some.npz", "digits", *PCA, "--metrics", "fud"), "metric 'fud' is unknown; did you mean 'fid'?"),
        (("some.npz", "digits", *PCA, "--metrics", "is"), "needs logits, which pca-5 does not make"),
        (("some.npz", "digits", "--extractor", "pca-65"), "65 principal components"),
        (("some.npz", "digits", "--extractor", "inceptoin-v3"), "did you mean 'inception-v3'?"),
        (("some.npz", "digits", *PCA, "--weights", "x.pth"), "--weights would have no effect with pca-5"),
        (("some.npz", "digits", *PCA, "--seeds", "0-9"), "--seeds is about a model's samples"),
        (("some.npz", "digits", *PCA, "--sampler", "fast"), "--sampler is about a model's samples"),
        (("some.npz", "digits", *PCA, "--n", "4"), "--n is about a model's samples"),
        (("some.npz", "digits", *PCA, "--images", "31"), "--images is 31, but some.npz holds 30 of them"),
        (("MODEL", "digits", *PCA, "--images", "30"), "--images is about pictures"),
        (("MODEL", "digits", *PCA, "--seeds", "0-29", "--repeats", "7"), "30 images cannot be split into 7 equal"),
        (("MODEL", "digits", *PCA, "--repeats", "0"), "--repeats is 0"),
        (("MODEL", "digits", *PCA, "--seeds", "0-29,5"), "5 is there twice"),
        (("MODEL", "digits", *PCA, "--labels", "10"), "class 10 is out of range"),
        (("MODEL", "digits", *PCA, "--steps", "karras:rho=0"), "rho"),
        (("MODEL", "digits", *PCA, "--solver", "huen"), "did you mean 'heun'"),
        (("MODEL", "digits", *PCA, "--solver", "heun:rtol=0.1"), "solver heun has no settings, but 'rtol' is set"),
        (("MODEL", "digits", *PCA, "--sampler", "fast"), "fast"),
        (("MODEL", "digits", *PCA, "--any-model"), "--any-model would have no effect"),
        (("MODEL", "digits", *PCA, "--batch-size", "0"), "--batch-size is 0"),
        (("no/such", "digits", *PCA), "no/such"),
        (("some.npz", "no/such", *PCA), "no/such"),
    ],
)
def test_mistakes(words: tuple[str, ...], says: str, evaluate: Run, model: Path) -> None:
    assert says in refused(evaluate, *(str(model) if word == "MODEL" else word for word in words), "--device", "cpu")


@pytest.mark.usefixtures("sets")
def test_missing_weights_without_internet(evaluate: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_internet(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_internet)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    said = refused(evaluate, "some.npz", "digits")
    assert "weights of inception-v3" in said
    assert f"weights-inception-2015-12-05-6726825d.pth at {tmp_path}/hub/checkpoints/weights-inception" in said
    assert "--weights" in said


def test_a_full_disk(evaluate: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true, written = files.write_whole, []

    def full(path: Path, content: Any) -> Path:
        written.append(path)
        if len(written) == 17:  # the digits' 15 blocks and statistics, and then the first of the samples
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return true(path, content)

    monkeypatch.setattr("elucidiff.evaluation.quality.reference.write_whole", full)
    words = (model, "digits", *FEW, "--seeds", "0-39", "--metrics", "fid")
    said = refused(evaluate, *words)
    assert "No space left on device: " in said
    assert "features" in said
    assert evaluate(*words)[0] == 0


def test_a_damaged_block_of_samples_is_made_again(evaluate: Run, model: Path) -> None:
    words = (model, "digits", *FEW, "--seeds", "0-199", "--metrics", "fid")
    assert evaluate(*words)[0] == 0
    before = Path("evaluation/results.json").read_bytes()
    block = next(Path("evaluation/features").rglob("0-127.npz"))
    block.write_bytes(block.read_bytes()[:500])
    assert BlockStore(block.parent).read("0-127") is None
    assert evaluate(*words)[0] == 0
    assert Path("evaluation/results.json").read_bytes() == before
