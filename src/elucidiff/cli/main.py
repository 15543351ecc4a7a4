"""``elucidiff VERB ...``: find the verb, run it, and tell a mistake in one line."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence

from elucidiff import __version__
from elucidiff.cli.common.verbs import Actions
from elucidiff.cli.terminal import INTERRUPTED, Signals, Streams
from elucidiff.launch.machine import give_back_freed_memory, keep_freed_memory
from elucidiff.parts import find, parts_of, summary
from elucidiff.plugins import use_plugins
from elucidiff.untrusted import printable

VERBS = {
    "demo": "train on real digits, sample, and write a report that explains what was done",
    "data": "import pictures for training, or inspect them and get settings recommended",
    "train": "train a denoiser on your own data, planned for them and for this machine, or as a preset has it",
    "tune": "make one, two or four evaluations enough for a trained model, by tuning it",
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
    "convert": "make a model folder of a model that another library saved",
    "doctor": "check this machine, or that a model denoises, and tell how to read its network if it does not",
    "explore": "open a page on which every choice of sampling is moved, and seen at work",
    "completion": "print the script by which a shell completes verbs, options and parts",
    "parts": "list solvers, schedules, metrics and all other parts, or explain one",
}

_BEGIN = """\
Diffusion models of your own data, and of other people's: trained, sampled, measured, tuned.

  elucidiff demo                                       all of it on real digits, in about 4 minutes
  elucidiff train pictures                             a model of your folder of pictures, in an evening
  elucidiff sample runs/pictures/model --grid          samples from it
  elucidiff doctor                                     what this machine has, and what could be added
"""

COMPUTING = frozenset(VERBS) - {"completion", "convert", "data", "ema", "parts", "report"}
"""Verbs that run a network many times, where freed memory is worth keeping."""


_MOST_SAID = 600
_NO_MEMORY = re.compile(
    r"out of memory|(can't|cannot|not enough|failed to) allocate|not enough memory|Storage size", re.I
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code.

    0: done. 2: a mistake in what was asked for, or something that could not be read or written. 130: interrupted.
    1: a fault of the program itself. Each but the first comes with one line on standard error.

    Args:
        arguments: the words after the program's name. Without, this is the program: they are those of the process,
            whose streams and signals are prepared for whatever may come.
    """
    if arguments is not None:
        return _run(list(arguments), None)
    signals = Signals()
    with Streams() as streams:
        code = _run(sys.argv[1:], signals)
        sys.stdout.flush()
        if streams.failure is not None:
            _say(f"elucidiff: error: cannot write to standard output: {streams.failure.strerror}")
            code = code or 2
    signals.no_more()
    return code


def _run(words: list[str], signals: Signals | None) -> int:
    verb = next((word for word in words if not word.startswith("-")), "")
    name = f"elucidiff {verb}" if verb in VERBS else "elucidiff"
    starting = contextlib.nullcontext if signals is None else signals.ending_at_once
    with _warnings_in_one_line(verb):
        # What the library warns of in Python, verbs say in words of their own, once.
        warnings.filterwarnings("ignore", message="sigma goes from")
        try:
            modules, words = _plugins(words)
            with starting():
                use_plugins(modules)
            if words[:1] == ["--version"]:
                print(f"elucidiff {__version__}")
                return 0
            verb, rest = _verbs().choose(words or ["--help"])
            name = f"elucidiff {verb}"
            if verb in COMPUTING or verb not in VERBS:
                keep_freed_memory()
            else:
                give_back_freed_memory()
            with starting():
                run = _verb(verb)
            return int(run(rest) or 0)
        except SystemExit as exit_:  # --help
            return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
        except KeyboardInterrupt:
            _say(f"{name}: interrupted")
            return INTERRUPTED
        except Exception as error:
            if signals is not None and signals.received and not isinstance(error, (ValueError, OSError)):
                _say(f"{name}: interrupted")  # what was being done made something else of it
                return INTERRUPTED
            if os.environ.get("ELUCIDIFF_TRACEBACK"):
                raise
            text, code = _told(error)
            _say(f"{name}: {text}")
            return code


def _verbs() -> Actions:
    """All verbs, those of plugins included."""
    plugins = {name: summary(verb) for name, verb in parts_of("verb").items()}
    footer = (
        "`elucidiff VERB --help` explains each. --plugin MODULE, anywhere, adds parts of your own to any of them.\n"
        "ELUCIDIFF_TRACEBACK=1 shows where an error came from."
    )
    hint = "one of your own needs its module: --plugin MODULE"
    return Actions("elucidiff", "verb", {**VERBS, **plugins}, heading=_BEGIN, footer=footer, hint=hint)


def _verb(name: str) -> Callable[[list[str]], int | None]:
    """The function that runs a verb, given the words after it."""
    if name in VERBS:
        run: Callable[[list[str]], int | None] = importlib.import_module(f"elucidiff.cli.{name}").run
        return run
    from elucidiff.cli.common.arguments import parse

    return lambda rest: parse(find("verb", name), rest, prog=f"elucidiff {name}").run()


def _plugins(words: list[str]) -> tuple[list[str], list[str]]:
    """The modules after each ``--plugin``, wherever it stands, and the other words."""
    modules, others, rest = [], [], iter(words)
    for word in rest:
        if word == "--":
            others += [word, *rest]
        elif word == "--plugin" or word.startswith("--plugin="):
            module = word.removeprefix("--plugin=") if "=" in word else next(rest, "")
            if not module.strip() or module.startswith("--"):
                raise ValueError("--plugin needs a module: write --plugin MODULE, or the path of a .py file")
            modules.append(module)
        else:
            others.append(word)
    return modules, others


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


def _told(error: Exception) -> tuple[str, int]:
    """The fault in one line, and the exit code."""
    if isinstance(error, OSError) and error.strerror:
        where = f": {_one_line(str(error.filename))}" if error.filename else ""
        return f"error: {_one_line(error.strerror)}{where}", 2
    said = _one_line(str(error)) or type(error).__name__
    if isinstance(error, (ValueError, OSError)):
        return f"error: {said}", 2
    if isinstance(error, OverflowError):
        return f"error: a number is too large: {said}", 2
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        return f"error: there is not enough memory for what was asked: {said}", 2
    *_, last = traceback.extract_tb(error.__traceback__)
    where = f"{os.path.basename(last.filename)}, line {last.lineno}"
    how = "ELUCIDIFF_TRACEBACK=1 shows how it came to it"
    return f"fault in the program: {type(error).__name__}: {said} ({where}; {how})", 1


def _one_line(text: str) -> str:
    """A text in one line that can be printed, and of which no more is said than helps."""
    half = _MOST_SAID // 2
    if len(text) > _MOST_SAID:
        text = f"{text[:half]} ... {text[-half:]}"
    return printable(" ".join(text.split()))


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
