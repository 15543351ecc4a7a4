"""``elucidiff explore [MODEL]``: a page on which every choice of sampling is moved, and seen at work."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import tyro

from elucidiff.cli.common.arguments import parse
from elucidiff.web import digits, runs
from elucidiff.web.engine import Explorer
from elucidiff.web.line import Line
from elucidiff.web.serving import address, opened, serve, token_for

if TYPE_CHECKING:
    from elucidiff.web.page import Page


@dataclass(frozen=True)
class Options:
    """Open a page in the browser on which every choice of sampling is moved, and seen at work.

    Two settings stand beside each other and draw from the same seeds. Without MODEL it opens on the exact denoiser of
    8x8 digits, at once. It answers to this machine alone; elsewhere it needs a token. Ctrl-C ends it.

    Examples::

        elucidiff explore
        elucidiff explore runs/demo
        elucidiff explore runs/demo/model --device cuda --host 0.0.0.0
    """

    model: tyro.conf.Positional[str | None] = None
    """A run folder, a model folder, a model of another library, or your own code, package.module:function."""
    guide: Path | None = None
    """A worse model of the same data, a smaller or an earlier one, to lead samples away from."""
    host: str = "127.0.0.1"
    """Address to serve at: 0.0.0.0 for all of this machine's, which takes a token."""
    port: int | None = None
    """Port (the first free one from 7860 on)."""
    token: str | None = None
    """What whoever opens the page has to know (a random one, printed, where --host is another)."""
    quiet: bool = False
    """Open no browser."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""
    threads: int = 1
    """Threads on a CPU. More are faster for large networks, but change a sample's last bits."""


def run(arguments: Sequence[str]) -> int:
    """Serve the page; see ``Options``."""
    options = parse(Options, arguments, prog="elucidiff explore")
    if options.threads < 1:
        raise ValueError(f"--threads is {options.threads}, but must be at least 1")
    if options.port is not None and not 0 <= options.port < 65536:
        raise ValueError(f"--port is {options.port}, but must be between 0 and 65535")
    token = token_for(options.host, options.token)
    model, training = (digits.MODEL, None) if options.model is None else runs.found(options.model)
    torch.set_num_threads(options.threads)
    guide = None if options.guide is None else str(options.guide)
    explorer = Explorer(model, guide=guide, device=options.device, threads=options.threads)
    listening = opened(options.host, options.port)
    where = address(listening, token)

    def page() -> Page:
        try:
            from elucidiff.web import page as gradio_page  # Gradio takes seconds, and is an extra
        except ModuleNotFoundError as error:
            if error.name is not None and error.name.startswith("elucidiff"):
                raise
            raise ValueError("the explorer needs Gradio: pip install 'elucidiff[explore]'") from None
        return gradio_page.Page(explorer, Line(lanes=min(2, os.cpu_count() or 1)), training)

    def ready() -> None:
        print(f"{where}\nCtrl-C ends it.", flush=True)
        if (
            not options.quiet
            and sys.stdout.isatty()
            and (os.environ.get("DISPLAY") or sys.platform in ("darwin", "win32"))
        ):
            webbrowser.open(where)

    with listening:
        serve(page, listening, token, ready)
    return 0
