"""What the page shows of runs, as HTML: everything that is put in is escaped."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

import elucidiff
from elucidiff import parts
from elucidiff.figures.style import level_text
from elucidiff.sampling.jobs.outputs import are_pictures, encoded, file_name
from elucidiff.web import plots
from elucidiff.web.engine import Exactness, Outcome, State
from elucidiff.web.pictures import as_urls, file_url, states_as_urls
from elucidiff.web.request import Request
from elucidiff.web.trace import in_plane

_COLUMNS = 10  # pictures in a strip
_MATPLOTLIB = threading.Lock()  # whose settings are one for all threads
_FLOAT32 = 1e-6  # what solutions are kept to

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Side:
    """One of the two settings, as far as it has come.

    Attributes:
        name: A or B.
        outcome: what came of it.
        exact: how far that is from the exact solution; None where there is none, or not yet.
        inexact: why there is none.
    """

    name: str
    outcome: Outcome
    exact: Exactness | None = None
    inexact: str | None = None


def said(text: str, kind: str = "status") -> str:
    """A line about how it goes: ``status``, ``wait``, ``done`` or ``wrong``."""
    return _made("said", text=text, kind=kind)


def sides(shown: Sequence[Markup]) -> str:
    """Settings beside each other."""
    return _made("sides", sides=shown)


def under_way(name: str, sampler: str, state: State) -> Markup:
    """A setting whose samples are being drawn: D so far."""
    facts = [
        f"step {state.step} of {state.steps}",
        f"σ {level_text(state.sigma)}",
        f"NFE {state.nfe}",
        f"{state.seconds:.1f} s",
    ]
    urls = as_urls(state.preview)
    images = [(url, f"denoised so far, number {k}", False) for k, url in enumerate(urls)]
    return _side(name, sampler, facts, 100 * state.step // max(state.steps, 1), images)


def done(side: Side, picked: int, *, comparing: bool = False) -> Markup:
    """A setting whose samples are there.

    Args:
        side: the setting.
        picked: the sample whose way is shown.
        comparing: whether the exact solution is still being computed.
    """
    outcome = side.outcome
    mean = float(outcome.nfe.double().mean())
    low, high = int(outcome.nfe.min()), int(outcome.nfe.max())
    nfe = f"NFE {low}" if low == high else f"NFE {mean:.0f} ({low} to {high})"
    facts = [f"{len(outcome.sigmas) - 1} steps", nfe, f"{outcome.seconds:.2f} s", *_distance(side, comparing)]
    images = [(url, _called(outcome, row), row == picked) for row, url in enumerate(as_urls(outcome.images))]
    return _side(side.name, words(outcome.request), facts, 100, images, picks=True, notes=outcome.notes)


def strip(shown: Sequence[Side], picked: int, sigma_data: float, to_data: Any) -> str:
    """The picked sample on its way, a row of states and one of denoised images for each setting.

    Args:
        shown: the settings.
        picked: row of the sample.
        sigma_data: standard deviation of the data.
        to_data: of the model's scaling.
    """
    rows = []
    for side in shown:
        if (trace := side.outcome.trace) is None:
            continue
        places = trace.some(_COLUMNS)
        sigmas = trace.sigmas[places]
        x = states_as_urls(trace.x[places, picked], sigmas, sigma_data)
        denoised = as_urls(to_data(trace.denoised[places, picked]))
        cells = [
            {"sigma": level_text(sigma), "x": noisy, "denoised": clean}
            for sigma, noisy, clean in zip(sigmas.tolist(), x, denoised, strict=True)
        ]
        rows.append((side.name, cells))
    outcome = shown[0].outcome
    return _made("strip", rows=rows, seed=outcome.seeds[picked], label=outcome.classes[picked])


def drawn(shown: Sequence[Side], picked: int, sigma_data: float) -> str:
    """The plots: noise levels of all settings, and the ways of the picked sample."""
    with _MATPLOTLIB:
        return _drawn(shown, picked, sigma_data)


def _drawn(shown: Sequence[Side], picked: int, sigma_data: float) -> str:
    sigmas = {side.name: side.outcome.sigmas.double().numpy() for side in shown}
    levels = plots.svg(plots.levels(sigmas), "Noise level before each step")
    traced = [(side.name, side.outcome.trace) for side in shown]
    ways = {name: trace.of(picked) for name, trace in traced if trace is not None}
    paths = ""
    if ways:
        exact = next((side.exact.traces[picked] for side in shown if side.exact is not None), None)
        found, share = in_plane([*ways.values(), *([] if exact is None else [exact])], sigma_data)
        figure = plots.paths(
            {name: place.numpy() for name, place in zip(ways, found, strict=False)},
            None if exact is None else found[-1].numpy(),
            share,
        )
        paths = plots.svg(figure, "The way from noise to image in two dimensions")
    seed = shown[0].outcome.seeds[picked]
    return _made("plots", levels=Markup(levels), paths=Markup(paths), seed=seed)


def recipes(shown: Sequence[Side], model: str) -> str:
    """Commands, programs, and what can be downloaded."""
    return _made(
        "recipes",
        recipes=[(side.name, side.outcome.recipe, "") for side in shown],
        archive=file_url("application/zip", archive(shown)),
        numbers=file_url("application/json", json.dumps(numbers(shown, model), indent=1).encode()),
    )


def archive(shown: Sequence[Side]) -> bytes:
    """A zip archive: the samples as files, as ``elucidiff sample`` writes them, and what recipes read."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for side in shown:
            folder = f"{side.name}/" if len(shown) > 1 else ""
            suffix = ".png" if are_pictures(side.outcome.images) else ".npy"
            contents = encoded(side.outcome.images)
            files = {file_name(seed, suffix): each for seed, each in zip(side.outcome.seeds, contents, strict=True)}
            files |= side.outcome.recipe.files
            files |= {"draw.sh": side.outcome.recipe.command.encode(), "draw.py": side.outcome.recipe.code.encode()}
            for name, content in files.items():
                made.writestr(zipfile.ZipInfo(f"{folder}{name}", (1980, 1, 1, 0, 0, 0)), content)
    return file.getvalue()


def numbers(shown: Sequence[Side], model: str) -> dict[str, Any]:
    """All settings and numbers, JSON-able."""
    return {
        "elucidiff": elucidiff.__version__,
        "torch": torch.__version__,
        "model": model,
        "settings": {
            side.name: {
                "sampler": side.outcome.request.sampler.to_plain(),
                "command": side.outcome.recipe.command,
                "seeds": list(side.outcome.seeds),
                "classes": list(side.outcome.classes),
                "nfe": side.outcome.nfe.tolist(),
                "seconds": round(side.outcome.seconds, 4),
                "sigmas": side.outcome.sigmas.tolist(),
                "distance_to_exact": None if side.exact is None else side.exact.distance.tolist(),
                "error_of_exact": None if side.exact is None else side.exact.error,
            }
            for side in shown
        },
    }


def words(request: Request) -> str:
    """A sampler in a few words."""
    sampler = request.sampler
    shown = [parts.to_text(sampler.solver), parts.to_text(sampler.steps)]
    shown += [f"schedule {text}" for text in [parts.to_text(sampler.schedule)] if text != "edm"]
    others = (
        each for name in ("churn", "restarts", "guidance", "clip") if (each := getattr(sampler, name)) is not None
    )
    shown += [text for text in map(parts.to_text, others) if text != "usual"]
    return "  ".join(shown)


def _distance(side: Side, comparing: bool) -> list[str]:
    if side.exact is not None:
        rms = float(side.exact.distance.square().mean().sqrt())
        floor = max(side.exact.error, _FLOAT32)
        return [f"{'under ' if rms < floor else ''}{max(rms, floor):.1g} RMS from the exact solution"]
    if comparing:
        return ["solving exactly ..."]
    return [] if side.inexact is None else [f"no exact solution: {side.inexact}"]


def _called(outcome: Outcome, row: int) -> str:
    label = outcome.classes[row]
    return f"seed {outcome.seeds[row]}" + (f", class {label}" if label else "")


def _side(
    name: str,
    sampler: str,
    facts: Sequence[str],
    percent: int,
    images: Sequence[tuple[str, str, bool]],
    *,
    picks: bool = False,
    notes: Sequence[str] = (),
) -> Markup:
    columns = max(1, min(8, round(len(images) ** 0.5)))
    return Markup(
        _made(
            "side",
            name=name,
            sampler=sampler,
            facts=facts,
            percent=percent,
            images=images,
            picks=picks,
            notes=notes,
            columns=columns,
        )
    )


def _made(template: str, **values: Any) -> str:
    return _TEMPLATES.get_template(f"{template}.html").render(values)
