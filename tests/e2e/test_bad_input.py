"""Every mistake: one line on stderr that names it, exit code 2, nothing written."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import elucidiff as ed
from tests.e2e.conftest import TINY, Run
from tests.sampling.tiny_model import save_tiny_model


def refused(run: Run, *words: str | Path) -> str:
    """The one line that ``elucidiff words`` prints as it refuses."""
    done = run(*words)
    assert done.returncode == 2, (done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("tarin",), "did you mean 'train'?"),
        (
            ("train", "digts"),
            "'digts' is neither a data set (there is no such file or folder) nor a preset",
        ),
        (("train", "digits", "--batch-siez", "3"), "did you mean --batch-size?"),
        (("train", "digits", "--batch-size", "many"), "--batch-size"),
        (("train", "digits", "--batch-size", "0"), "batch_size"),
        (("train", "digits", "--validation-images", "5000"), "5000"),
        (("train", "digits", "--device", "cuda:99"), "cuda:99"),
        (("train", "no/such/config.yaml"), "no/such/config.yaml"),
        (("sample", "no/such/model"), "no/such/model"),
        (("figure", "stesp"), "did you mean 'steps'?"),
        (("figure", "steps", "--n", "1"), "at least 2"),
        (("figure", "steps", "--steps", "karras:rho=0"), "rho is 0"),
    ],
)
def test_mistakes_that_need_no_model(elucidiff: Run, words: tuple[str, ...], says: str) -> None:
    assert says in refused(elucidiff, *words)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--seeds", "1-x"), "neither a number nor a range"),
        (("--seeds", "9-3"), "runs backwards"),
        (("--seeds", "1,1"), "same seed twice"),
        (("--n", "0"), "at least 1"),
        (("--steps", "karras:rho=-1"), "rho"),
        (("--steps", "karras:sigma_min=5,sigma_max=2"), "sigma_min"),
        (("--solver", "rk2:alpha=0"), "alpha is 0"),
        (("--churn", "0,noise_scale=1.01"), "noise_scale would have no effect in churn"),
        (("--restarts", "sigma_max=1"), "sigma_max would have no effect in restarts 'sigma_max=1', as repeats is 0"),
        (("--churn", "-1"), "-1"),
        (("--solver", "rk45", "--churn", "5"), "churn"),
        (("--labels", "10"), "class 10 is out of range, the model knows 0 to 9"),
        (("--labels", "cat"), "--labels"),
        (("--batch-size", "0"), "batch"),
        (("--device", "tpu"), "tpu"),
        (("--solver", "huen"), "there is no solver 'huen'; did you mean 'heun'"),
    ],
)
def test_mistakes_in_sampling(
    elucidiff: Run, trained: Path, tmp_path: Path, flags: tuple[str, ...], says: str
) -> None:
    assert says in refused(elucidiff, "sample", trained / "model", "--out", tmp_path / "out", *flags)
    assert not (tmp_path / "out").exists()


def test_damaged_models(elucidiff: Run, trained: Path, tmp_path: Path) -> None:
    weights = (trained / "model" / "model.safetensors").read_bytes()
    facts = (trained / "model" / "model.json").read_text()
    for name, content, text in (
        ("truncated", weights[: len(weights) // 2], facts),
        ("not-json", weights, facts[:-40]),
        ("other-format", weights, facts.replace("elucidiff-model", "something-else")),
        ("nan", weights[:-4] + np.float32(np.nan).tobytes(), facts),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(content)
        (folder / "model.json").write_text(text)
        assert str(folder) in refused(elucidiff, "sample", folder, "--out", tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("sample", "MODEL", "--seeds", "7-8", "--processes", "1"), "seed 7 (and 1 of the 1 drawn with it) gave"),
        (("restore", "MODEL", "PICTURE", "--upscale", "2", "--seeds", "7"), "seed 7 gave"),
        (
            ("interpolate", "MODEL", "--seeds", "7,8", "--frames", "3"),
            "frame 0, at seed 7, (and 2 of the 2 drawn with it) gave",
        ),
        (
            ("steps", "optimise", "MODEL", "--nfe", "5", "--fresh-seeds", "7"),
            "seed 7 gave values that are not finite at step 1",
        ),
    ],
)
def test_a_network_that_overflows(elucidiff: Run, tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    """Seed and step are named; this can only be found at work, so other lines may come before."""
    denoiser = ed.load(save_tiny_model(tmp_path / "model"))
    with torch.no_grad():
        for parameter in list(denoiser.parameters())[-2:]:
            parameter.fill_(3e38)
    denoiser.save(tmp_path / "overflowing")
    (tmp_path / "small.png").write_bytes(_picture((4, 4)))
    paths = {"MODEL": tmp_path / "overflowing", "PICTURE": tmp_path / "small.png"}
    out = () if words[0] == "steps" else ("--n", "3", "--out", tmp_path / "out")
    done = elucidiff(*(paths.get(word, word) for word in words), *out, "--device", "cpu")
    assert done.returncode == 2, (done.stdout, done.stderr)
    line = done.stderr.strip().splitlines()[-1]
    assert says in line
    assert "not finite" in line
    assert "step 1" in line
    assert not list(tmp_path.glob("out/*.png"))


def _picture(size: tuple[int, int] = (8, 8), mode: str = "L") -> bytes:
    data = io.BytesIO()
    Image.new(mode, size).save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "empty"),
        ({"a.png": _picture(), "b.png": _picture()[:-30]}, "b.png"),
        ({"a.png": _picture(), "b.png": _picture((9, 8))}, "b.png"),
        ({"a.png": _picture(), "b.png": _picture(mode="RGB")}, "b.png"),
        ({"a.png": _picture(), "dataset.json": b'{"labels": [["z.png", 3]]}'}, "a.png"),
    ],
    ids=["empty", "corrupt", "sizes", "channels", "labels"],
)
def test_damaged_folders(elucidiff: Run, tmp_path: Path, files: dict[str, bytes], says: str) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    line = refused(elucidiff, "train", "digits", "--data", folder, "--run-dir", tmp_path / "run")
    assert says in line
    assert not (tmp_path / "run").exists()


def test_damaged_files(elucidiff: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "nan.npy", np.full((20, 1, 8, 8), np.nan, np.float32))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a.png", _picture())
    (tmp_path / "cut.zip").write_bytes((tmp_path / "set.zip").read_bytes()[:-10])
    (tmp_path / "cut.npy").write_bytes((tmp_path / "nan.npy").read_bytes()[:-10])
    for name in ("nan.npy", "cut.zip", "cut.npy"):
        assert name in refused(elucidiff, "train", "digits", "--data", tmp_path / name, "--run-dir", tmp_path / "run")
        assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def resumable(elucidiff: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Data with labels, and a run on them that is to be resumed."""
    folder = tmp_path_factory.mktemp("resumable")
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8)).astype(np.uint8)
    np.savez(folder / "set.npz", images=images, labels=np.arange(40) % 2)
    done = elucidiff("train", "digits", "--data", folder / "set.npz", "--run-dir", folder / "run", *SHORT)
    assert done.returncode == 0, done.stderr
    return folder / "set.npz", folder / "run"


SHORT = (*TINY, "--validation-images=0", "--duration-images=32", "--checkpoint-images=1000000")


@pytest.mark.parametrize(
    ("images", "labels", "flags", "says"),
    [
        ((40, 8, 8), True, (), "data set had sha256"),
        ((39, 8, 8), True, (), "data set had count 40, now it is 39"),
        ((40, 16, 16), True, (), "data set had shape [1, 8, 8], now it is [1, 16, 16]"),
        ((40, 9, 9), True, (), "9x9 does not fit 2 levels: pad or crop every side to a multiple of 2"),
        ((40, 8, 8), False, (), "data set had label_dim 2, now it is 0"),
        ((40, 8, 8), True, ("--no-conditional",), "data set had label_dim 2, now it is 0"),
        (None, True, ("--network", "adm"), "settings had network.type ddpmpp, now it is adm"),
        (None, True, ("--network.base-channels", "32"), "settings had network.base_channels 16, now it is 32"),
        (None, True, ("--device-batch-size", "5"), "device_batch_size is 5, but must divide batch_size 32"),
    ],
)
def test_what_cannot_be_resumed(
    elucidiff: Run,
    resumable: tuple[Path, Path],
    tmp_path: Path,
    images: tuple[int, ...] | None,
    labels: bool,
    flags: tuple[str, ...],
    says: str,
) -> None:
    data, run_dir = resumable
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    if images is not None:
        data, pixels = tmp_path / "set.npz", np.zeros((images[0], 1, *images[1:]), np.uint8)
        np.savez(data, images=pixels, **({"labels": np.arange(images[0]) % 2} if labels else {}))
    words = ("train", "digits", "--data", data, "--run-dir", run_dir, *SHORT, *flags, "--resume")
    assert says in refused(elucidiff, *words)
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["ffhq64", "afhqv2-64", "imagenet64"])
def test_data_that_have_to_be_brought_along(elucidiff: Run, tmp_path: Path, name: str) -> None:
    line = refused(elucidiff, "train", name, "--run-dir", tmp_path / "run")
    assert f"the data set of the preset {name} cannot be fetched: say where you have it with --data PATH" in line
    assert "no data set 'elsewhere'" in refused(elucidiff, "train", name, "--data", "elsewhere")


def test_resuming_needs_a_folder(elucidiff: Run, tmp_path: Path) -> None:
    """An empty one will do: what was to be resumed may have been killed at its very start."""
    words = ("train", "digits", *SHORT, "--resume", "--run-dir")
    assert "no such folder" in refused(elucidiff, *words, tmp_path / "typo")
    assert not (tmp_path / "typo").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    assert "it has no config.yaml" in refused(elucidiff, *words, tmp_path / "other")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["notes.txt"]
    (tmp_path / "new").mkdir()
    assert elucidiff(*words, tmp_path / "new").returncode == 0


def test_a_place_that_cannot_be_written_is_named(elucidiff: Run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    line = refused(elucidiff, "sample", trained / "model", "--seeds", "0-1", "--n", "2", "--out", tmp_path / "out")
    assert str(tmp_path / "out") in line
    assert (tmp_path / "out").read_text() == "a file where the folder should be"


def test_a_full_disk_ends_in_one_line_and_leaves_nothing_half_written(trained: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the full disk; it needs a process of its own."""
    script = (
        "import resource, signal, sys\n"
        "from elucidiff.cli.main import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["sample", trained / "model", "--seeds", "0-1", "--n", "2", "--out", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("elucidiff sample: error: File too large")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_a_full_disk_in_training_ends_in_one_line_and_keeps_the_last_checkpoint(
    elucidiff: Run, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    tiny = (*TINY, "--lr-decay=constant")  # with a decay, a longer run would say how its rate leaps
    assert elucidiff("train", "digits", "--run-dir", run_dir, *tiny).returncode == 0
    good = {path: path.read_bytes() for path in (run_dir / "checkpoints").iterdir()}
    script = (
        "import resource, signal, sys\n"
        "from elucidiff.cli.main import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))\n"
        "sys.exit(main(sys.argv[2:]))\n"
    )
    longer = [flag for flag in tiny if not flag.startswith("--duration")]
    words = ["train", "digits", "--run-dir", str(run_dir), *longer, "--duration-images=960", "--resume"]
    largest_line = len((run_dir / "metrics.jsonl").read_bytes()) + 50  # room for the settings, none for the next line
    for limit in (largest_line, 100_000):  # the log does not fit; the log fits, the weights do not
        command = [sys.executable, "-c", script, str(limit), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert str(run_dir) in done.stderr
        assert {path: path.read_bytes() for path in (run_dir / "checkpoints").iterdir()} == good
    assert elucidiff(*words).returncode == 0
