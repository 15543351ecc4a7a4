"""``elucidiff VERB ...``: find the verb, run it, and tell a mistake in one line."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence

from elucidiff import __version__
from elucidiff.cli.usage import listed
from elucidiff.launch.allocator import keep_freed_memory
from elucidiff.suggest import suggestion
from elucidiff.untrusted import printable

VERBS = {
    "demo": "train on real digits, sample, and write a report that explains what was done",
    "data": "import pictures for training, or inspect them and get settings recommended",
    "train": "train a denoiser on a data set, starting from a preset",
    "ema": "make a model with another width of weight averaging out of a run",
    "sample": "draw samples from a trained model",
    "steps": "make a model's own samplers: noise levels optimised for a budget, errors measured",
    "interpolate": "draw the way between seeds or pictures",
    "restore": "complete or sharpen a picture: samples that agree with what is known of it",
    "likelihood": "measure how probable a model finds data, in bits/dim",
    "search": "find the sampling options that make the best samples, by trying them",
    "evaluate": "measure how good samples or pictures are: FID and the like, each with its error",
    "curve": "measure quality and truncation error against network evaluations, for any set of samplers",
    "ablate": "fill the paper's tables for your data: what each choice of sampling or training is worth",
    "figure": "draw one of the figures of the paper, or of your own results",
    "report": "bind all figures and tables of a run into one page",
}

COMPUTING = frozenset(VERBS) - {"data", "ema", "report"}
"""Verbs that run a network many times, where freed memory is worth keeping."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code: 0 done, 2 a mistake in what was asked for, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"elucidiff {__version__}")
        return 0
    verb, rest = words[0], words[1:]
    with _warnings_in_one_line(verb):
        return _run(verb, rest)


def _run(verb: str, rest: list[str]) -> int:
    try:
        if verb not in VERBS:
            raise ValueError(f"unknown verb {verb!r}; {suggestion(verb, VERBS)}")
        if verb in COMPUTING:
            keep_freed_memory()
        return int(importlib.import_module(f"elucidiff.cli.{verb}").run(rest) or 0)
    except (ValueError, OSError) as error:
        if os.environ.get("ELUCIDIFF_TRACEBACK"):
            raise
        print(f"elucidiff {verb if verb in VERBS else ''}".strip() + f": error: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"elucidiff {verb}: interrupted", file=sys.stderr)
        return 130
    except SystemExit as exit_:  # --help of a verb
        return int(exit_.code or 0)


@contextlib.contextmanager
def _warnings_in_one_line(verb: str) -> Iterator[None]:
    """Show a warning in one line. Those of Pillow are not shown: the errors that follow say more."""

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        kind = "note" if issubclass(category, UserWarning) else category.__name__
        print(f"elucidiff {verb}: {kind}: {printable(' '.join(str(message).split()))}", file=sys.stderr)

    # Without a handler, Python prints what Pillow logs of damaged files.
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with warnings.catch_warnings():
        warnings.showwarning = show
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return printable(f"{error.strerror}{where}")
    return printable(" ".join(str(error).split())) or type(error).__name__


def _usage() -> str:
    return (
        f"usage: elucidiff VERB [options]\n\n{listed(VERBS)}\n\n`elucidiff VERB --help` explains each. "
        "ELUCIDIFF_TRACEBACK=1 shows where an error came from."
    )


if __name__ == "__main__":
    sys.exit(main())
