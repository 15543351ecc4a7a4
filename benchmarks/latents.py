"""Training on 256x256 photographs through an autoencoder, and what an image costs beside one in pixels.

    python -m benchmarks.latents pictures              # patches of scikit-image's photographs, into runs/latents
    python -m benchmarks.latents import AUTOENCODER    # the set of latents
    python -m benchmarks.latents train MINUTES         # resumable, as elucidiff train plans it
    python -m benchmarks.latents sample                # docs/images/latents.jpg
    python -m benchmarks.latents table                 # docs/results/latents.md

The photographs are those that the wheel of scikit-image holds; it need only lie on the path. AUTOENCODER is anything
that ``elucidiff data import --encode`` takes: the page was made with TAEF2 (madebyollin/taesd), as an ONNX pair.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import elucidiff as ed
from benchmarks.tables import markdown, write_results
from elucidiff.cli.main import main
from elucidiff.data import Dataset, to_uint8, to_unit
from elucidiff.data.subsets import evenly_spread
from elucidiff.figures.style import mosaic
from elucidiff.files import write_whole
from elucidiff.sampling.grid import range_for
from elucidiff.sampling.jobs.outputs import png
from elucidiff.training import TrainingConfig
from elucidiff.training.batches import draw
from elucidiff.training.loop import noisy_batches, update
from elucidiff.training.planning.timing import networks_for
from elucidiff.training.state import TrainingState

HOME = Path("runs/latents")
PICTURES, SET, RUN = HOME / "photographs", HOME / "set", HOME / "run"
NAMES = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "ihc", "motorcycle_left", "retina", "rocket")
SIDE, STRIDE, MOST = 256, 64, 32
BATCH, STEPS, SHOWN = 8, 5, 4
IMAGE = Path("docs/images/latents.jpg")

NOTES = """# Photographs of 256x256 through an autoencoder

`python -m benchmarks.latents`: {count} patches of {photographs} colour photographs of scikit-image (a class each,
{side} pixels wide, up to {most} of a photograph, overlapping) are imported with `elucidiff data import PICTURES SET
--encode taef2`, the ONNX pair of TAEF2, whose latents are 32 x 32 with 32 channels; then trained on with `elucidiff
train SET`, and sampled with `elucidiff sample MODEL`, as anybody would.

The autoencoder gives the patches back with {psnr:.1f} dB on average (lowest {worst:.1f}, highest {best:.1f}): no
model of its latents can be sharper than that. The model ({trained}) saw {images:,} training images in {minutes:.0f}
minutes on a core that it shared with ten other programs.

![Left: patches of each photograph, encoded and decoded. Right: samples of their classes.](../images/latents.jpg)

A row a photograph: left {shown} patches of it, encoded and decoded; right as many samples of its class. So short a
training gives the colours and the texture of each (stars on black, a retina, tissue), and no objects yet. The plan
was made when networks might still be narrower than the data: this one passes 32 channels on in 16, which
`elucidiff train` no longer does.

## What an image costs

The smallest network that `elucidiff train` plans for pixels and for latents, batches of {batch}, one core: processor
seconds of an image in a training step and in one evaluation while sampling, and the largest memory of a process of
its own that takes {steps} training steps, {bare} of it before there is any network.

"""


def cut() -> None:
    """Write the patches, a folder for each photograph."""
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise SystemExit("the photographs are scikit-image's: pip install scikit-image")
    folder = Path(found.origin).parent / "data"
    for name in NAMES:
        [file] = [*folder.glob(f"{name}.png"), *folder.glob(f"{name}.jpg")]
        with Image.open(file) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        corners = [
            (top, left)
            for top in range(0, pixels.shape[0] - SIDE + 1, STRIDE)
            for left in range(0, pixels.shape[1] - SIDE + 1, STRIDE)
        ]
        for place in evenly_spread(np.arange(len(corners)), MOST).tolist():
            top, left = corners[place]
            patch = pixels[top : top + SIDE, left : left + SIDE]
            write_whole(PICTURES / name / f"{top:04d}-{left:04d}.png", png(patch.transpose(2, 0, 1)))


def train(minutes: str) -> None:
    """Train as planned, or go on."""
    flags = ["--run-dir", str(RUN), "--minutes", minutes, "--device", "cpu", "--no-report"]
    flags += ["--resume"] if any((RUN / "checkpoints").glob("*")) else []
    sys.exit(main(["train", str(SET), *flags]))


def sample() -> None:
    """Draw samples of each class, and lay them beside patches that went through the autoencoder."""
    model, dataset = ed.load(RUN / "model"), ed.data.open(SET)
    scaling, classes = ed.data.scaling_of(model), dataset.classes
    assert classes is not None
    seeds = range(SHOWN * len(NAMES))
    labels = torch.nn.functional.one_hot(torch.arange(len(seeds)) // SHOWN, len(NAMES)).float()
    low, high = range_for(model.sigma_data)
    x = ed.Sampler(f"karras:n=18,sigma_min={low},sigma_max={high}").run(model, seeds, labels).x
    rows = []
    for number in range(len(NAMES)):
        places = evenly_spread(np.flatnonzero(classes.numpy() == number), SHOWN)
        rows += [scaling.to_model(dataset.images(places)), x[SHOWN * number : SHOWN * (number + 1)].float()]
    pictures = torch.nn.functional.avg_pool2d(scaling.to_data(torch.cat(rows)).float(), 2).round().byte()
    sheet = Image.fromarray(mosaic(pictures.numpy(), 2 * SHOWN, zoom=1).transpose(1, 2, 0))
    write_whole(IMAGE, lambda file: sheet.save(file, quality=88))


def _steps(shape: tuple[int, ...], label_dim: int) -> dict[str, float]:
    """Processor seconds and memory of training steps and evaluations on samples of a shape."""
    torch.set_num_threads(1)
    network = next(networks_for(shape))
    config = TrainingConfig(network=network, conditional=True, batch_size=BATCH, device="cpu", compile="off")
    bare = _peak()
    state = TrainingState(config, shape, label_dim, torch.device("cpu"))
    images, labels = torch.zeros(BATCH, *shape), torch.zeros(BATCH, label_dim)
    taken = []
    for _ in range(STEPS):
        begun = time.process_time()
        draws = draw(0, state.step, images.shape, state.objective.noise, state.augment)
        update(state, noisy_batches(state, images, labels, draws))
        taken.append(time.process_time() - begun)
    memory = _peak()
    asked = []
    with torch.no_grad():
        for _ in range(STEPS):
            begun = time.process_time()
            state.denoiser(images, torch.ones(BATCH), labels)
            asked.append(time.process_time() - begun)
    return {
        "training": statistics.median(taken[1:]) / BATCH,
        "evaluation": statistics.median(asked[1:]) / BATCH,
        "memory": memory,
        "bare": bare,
        "channels": network.base_channels,
        "levels": len(network.channel_multipliers),
        "weights": sum(weight.numel() for weight in state.denoiser.network.parameters()),
    }


def _peak() -> int:
    """Bytes of memory that this process has taken at most. What getrusage tells counts its parent's, too."""
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def _in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def table() -> None:
    """Measure, and write the page."""
    dataset = ed.data.open(SET)
    pictures, coder = dataset.pictures, dataset.autoencoder
    assert pictures is not None
    assert coder is not None
    errors, seconds = _errors(dataset, pictures)
    rows = []
    for what, shape in (("pixels", pictures.shape), ("latents", dataset.shape)):
        found = _in_a_process(_steps, shape, dataset.label_dim)
        print(what, found, flush=True)
        evaluations = 35
        whole = evaluations * found["evaluation"] + (seconds["decoding"] if what == "latents" else 0)
        rows.append(
            {
                "on": f"{what}, {' x '.join(map(str, shape))}",
                "network": f"{found['channels']:.0f} channels, {found['levels']:.0f} levels, "
                f"{found['weights'] / 1e6:.2f} M weights",
                "training step": f"{found['training']:.3f} s",
                "evaluation": f"{found['evaluation']:.3f} s",
                f"sample of {evaluations} evaluations": f"{whole:.1f} s",
                "memory": f"{found['memory'] / 2**20:,.0f} MiB",
                "on disk": f"{np.prod(shape) * (1 if what == 'pixels' else 4) / 2**10:,.0f} KiB",
            }
        )
    lines = [json.loads(line) for line in (RUN / "metrics.jsonl").read_text().splitlines()]
    last = max((line for line in lines if "seconds" in line), key=lambda line: line["images"])
    config = TrainingConfig.load(RUN / "config.yaml")
    notes = NOTES.format(
        count=len(dataset), photographs=len(NAMES), side=SIDE, most=MOST, psnr=errors.mean(), worst=errors.min(),
        best=errors.max(), images=last["images"], minutes=last["seconds"] / 60, shown=SHOWN, batch=BATCH, steps=STEPS,
        trained=f"{config.network.base_channels} channels, {config.batch_size} images a step",
        bare=f"{found['bare'] / 2**20:,.0f} MiB",
    )  # fmt: skip
    ends = (
        f"\nEncoding takes {seconds['encoding']:.2f} s of an image, once, when it is imported; decoding "
        f"{seconds['decoding']:.2f} s of a sample, which the column of samples has in it.\n"
    )
    write_results("latents", notes + markdown(rows) + ends, rows)
    print(notes + markdown(rows) + ends)


def _errors(dataset: Dataset, pictures: Dataset) -> tuple[np.ndarray, dict[str, float]]:
    """Decibels of each picture after its way through the autoencoder, and processor seconds of an image."""
    coder = dataset.autoencoder
    assert coder is not None
    torch.set_num_threads(1)
    found, taken = [], {"encoding": [], "decoding": []}
    for place in evenly_spread(np.arange(len(dataset)), 64).tolist():
        stored = pictures.images([place])
        begun = time.process_time()
        coder.encode(to_unit(stored))
        taken["encoding"].append(time.process_time() - begun)
        begun = time.process_time()
        back = to_uint8(coder.decode(dataset.images([place])))
        taken["decoding"].append(time.process_time() - begun)
        square = float((back.double() - stored.double()).square().mean())
        found.append(10 * np.log10(255**2 / square))
    return np.array(found), {name: statistics.median(times[1:]) for name, times in taken.items()}


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "pictures":
        cut()
    elif verb == "import":
        sys.exit(main(["data", "import", str(PICTURES), str(SET), "--encode", rest[0]]))
    elif verb == "train":
        train(rest[0])
    elif verb == "sample":
        sample()
    else:
        table()
