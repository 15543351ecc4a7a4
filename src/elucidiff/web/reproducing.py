"""The command and the Python program that draw what the explorer shows, to the bit."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from elucidiff import parts, plugins
from elucidiff.sampling.jobs.outputs import are_pictures, encoded
from elucidiff.sampling.sampler import KINDS, Sampler
from elucidiff.web.request import Begin, Repaint, Request

BATCH_SIZE = 16
"""Samples in one call of the network, in the explorer as on the command line."""


@dataclass(frozen=True)
class Recipe:
    """How to draw the same samples without the explorer.

    Attributes:
        command: one line for a shell.
        code: a Python program, after which ``images`` are the samples as a data set holds them, and ``seeds`` theirs.
        files: what both read, by name.
    """

    command: str
    code: str
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Recipes:
    """What all recipes share.

    Args:
        model: as it was named.
        guide: the worse model of autoguidance, likewise.
        device: as it was asked for.
        threads: on a CPU.
    """

    model: str
    guide: str | None = None
    device: str = "auto"
    threads: int = 1

    def of(self, request: Request) -> Recipe:
        """The recipe of a request that was found right."""
        source = request.source
        files = {} if source is None else _files(source)
        return Recipe(self._command(request, list(files)), self._code(request, list(files)), files)

    def _command(self, request: Request, files: list[str]) -> str:
        verb = "restore" if isinstance(request.source, Repaint) else "sample"
        words = ["elucidiff", verb, self.model]
        if isinstance(request.source, Repaint):
            words += [files[0], "--mask", files[1], "--noise", f"{request.source.noise:g}"]
        elif isinstance(request.source, Begin):
            words += ["--init", files[0], "--strength", repr(request.source.strength)]
        words += _flags(request.sampler)
        words += ["--seeds", request.seeds.strip(), *(["--labels", _labels(request)] if _labels(request) else [])]
        words += [] if self.guide is None else ["--guide", self.guide]
        words += [] if self.device == "auto" else ["--device", self.device]
        if verb == "sample":
            # Another backend has other last bits.
            words += ["--backend", "eager", *([] if self.threads == 1 else ["--threads", str(self.threads)])]
        for module in _plugins():
            words += ["--plugin", module]
        words += ["--out", "restored" if verb == "restore" else "samples"]
        before = f"OMP_NUM_THREADS={self.threads} " if verb == "restore" else ""
        return before + shlex.join(words)

    def _code(self, request: Request, files: list[str]) -> str:
        source = request.source
        given = ["labels_asked_for"] if _named_labels(request) else []
        given += [] if source is None else ["read_given"]
        given += ["read_mask"] if isinstance(source, Repaint) else []
        lines = [
            *(["from pathlib import Path", ""] if source is not None else []),
            "import torch",
            "",
            "import elucidiff as ed",
            *([f"from elucidiff.sampling.given import {', '.join(given)}"] if given else []),
            "",
        ]
        if used := _plugins():
            lines[-1:] = ["from elucidiff.plugins import use_plugins", "", f"use_plugins({used!r})"]
        lines.append(f"torch.set_num_threads({self.threads})")
        lines += self._models(source)
        lines += _sampler_lines(request.sampler)
        lines.append(f'seeds = ed.sampling.parse_seeds("{request.seeds.strip()}")')
        guide = "" if self.guide is None else ", guide=guide"
        if isinstance(source, Repaint):
            labels = f', labels="{_labels(request)}"' if _labels(request) else ""
            lines += [
                f'known = ed.inverse.Mask(~read_mask(Path("{files[1]}"), denoiser.sample_shape[1:]))',
                f'y = known(read_given(Path("{files[0]}"), denoiser)[None])',
                "result = ed.inverse.restore(",
                f"    denoiser, known, y, seeds, noise={source.noise:g}, sampler=sampler{labels}{guide}",
                ")",
            ]
        else:
            labels = ""
            if _named_labels(request):
                lines += [
                    f'asked = labels_asked_for("{_labels(request)}", denoiser)',
                    "labels = asked[torch.arange(len(seeds)) % len(asked)]  # taken in turn",
                ]
                labels = ", labels"
            elif _labels(request):
                labels = f', "{_labels(request)}"'
            edit = ""
            if isinstance(source, Begin):
                start = f'ed.sampling.Edit(read_given(Path("{files[0]}"), denoiser), {source.strength!r})'
                lines.append(f"edit = {start}")
                edit = ", edit=edit"
            lines.append(f"result = sampler.run(denoiser, seeds{labels}, batch_size={BATCH_SIZE}{guide}{edit})")
        lines.append("images = ed.data.scaling_of(denoiser).to_data(result.x.cpu())")
        return "\n".join([*lines, ""])

    def _models(self, source: Begin | Repaint | None) -> list[str]:
        place = "" if self.device == "cpu" else f', device="{self.device}"'
        lines = []
        for name, path in (("denoiser", self.model), ("guide", self.guide)):
            if path is None:
                continue
            loaded = f'ed.load("{path}"{place})'
            # What restores a picture differentiates the network, which a backend does not.
            if not isinstance(source, Repaint):
                loaded = f'ed.with_backend({loaded}, "eager")'
            lines.append(f"{name} = {loaded}")
        return lines


def _sampler_lines(sampler: Sampler) -> list[str]:
    default = Sampler()
    settings = [
        f"    {name}={'None' if (part := getattr(sampler, name)) is None else repr(parts.to_text(part))},"
        for name in KINDS
        if name in ("steps", "schedule", "solver") or getattr(sampler, name) != getattr(default, name)
    ]
    return ["sampler = ed.Sampler(", *(line.replace("'", '"') for line in settings), ")"]


def _flags(sampler: Sampler) -> list[str]:
    """All choices as flags: where few are given, a model's own way may fill in the others."""
    default, words = Sampler(), []
    for name in KINDS:
        part = getattr(sampler, name)
        if name in ("steps", "schedule", "solver") or part != getattr(default, name):
            words += [f"--{name}", "none" if part is None else parts.to_text(part)]
    return words


def _labels(request: Request) -> str:
    return request.labels.strip()


def _named_labels(request: Request) -> bool:
    return _labels(request) not in ("", "uniform") and not isinstance(request.source, Repaint)


def _plugins() -> list[str]:
    """What the user named with --plugin or in the environment."""
    return [name for name in os.environ.get(plugins.VARIABLE, "").split(os.pathsep) if name]


def _files(source: Begin | Repaint) -> dict[str, bytes]:
    name = "picture" if isinstance(source, Repaint) else "init"
    picture = source.picture[None].cpu()
    files = {f"{name}{'.png' if are_pictures(picture) else '.npy'}": encoded(picture)[0]}
    if isinstance(source, Repaint):
        mask = source.mask.cpu()
        if mask.ndim == 2:
            files["mask.png"] = encoded((mask.to(torch.uint8) * 255)[None, None])[0]
        else:
            files["mask.npy"] = encoded(mask[None])[0]
    return files
