"""``elucidiff completion SHELL``: the script by which a shell completes verbs, options, parts and paths."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tyro

from elucidiff.cli.common.arguments import Flag, flags_of, parse
from elucidiff.cli.main import VERBS
from elucidiff.parts import KINDS, summary
from elucidiff.training.presets import PRESETS


@dataclass(frozen=True)
class Options:
    """Print the script by which a shell completes verbs, options, names of parts, and paths.

    It knows the parts of plugins that are named with --plugin or in ELUCIDIFF_PLUGINS when it is made.

    Examples::

        elucidiff completion bash > ~/.local/share/bash-completion/completions/elucidiff
        elucidiff completion zsh > ~/.zfunc/_elucidiff
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh", "tcsh"]]
    """bash, zsh or tcsh."""


def run(arguments: Sequence[str]) -> int:
    """Print the script of a shell."""
    options = parse(Options, arguments, prog="elucidiff completion")
    try:
        import shtab
    except ImportError:
        raise ValueError("completion needs the package shtab: pip install shtab") from None
    sys.stdout.write(shtab.complete(parser(), options.shell))
    return 0


def parser() -> argparse.ArgumentParser:
    """All verbs and their flags, as Python's own parser has them; it parses nothing but for completion."""
    program = argparse.ArgumentParser("elucidiff", add_help=False)
    program.add_argument("--help", action="store_true", help="the verbs")
    program.add_argument("--version", action="store_true", help="the version")
    verbs = program.add_subparsers()
    for verb, what in VERBS.items():
        page = verbs.add_parser(verb, help=what, add_help=False)
        pages = _pages(verb)
        if isinstance(pages, type):
            _fill(page, flags_of(pages))
        elif verb == "train":
            page.add_argument("what", choices=list(pages))
            _fill(page, flags_of(next(iter(pages.values()))))
        else:
            _fill(page, [])
            actions = page.add_subparsers()
            for name, options in pages.items():
                flags = flags_of(options) if isinstance(options, type) else options
                what = summary(options) if isinstance(options, type) else name
                _fill(
                    actions.add_parser(name, help=what.replace("%", "%%"), add_help=False), flags
                )  # shtab needs help
    return program


def _pages(verb: str) -> type[Any] | Mapping[str, Any]:
    """The options of a verb, or of each of its actions; of a kind of parts the names, as words that follow."""
    if verb == "parts":
        return {kind.name.replace(" ", "-"): [] for kind in KINDS.values()}
    module = importlib.import_module(f"elucidiff.cli.{verb}")
    if verb == "train":
        return dict.fromkeys(PRESETS, module.PlannedOptions)
    if verb == "figure":
        found: Mapping[str, Any] = module.pages()
        return found
    actions: Mapping[str, Any] | None = getattr(module, "ACTIONS", None)
    options: type[Any] | Mapping[str, Any] = module.Options if actions is None else actions
    return options


def _fill(page: argparse.ArgumentParser, flags: Iterable[Flag]) -> None:
    page.add_argument("--help", action="store_true", help="all options")
    page.add_argument("--plugin", metavar="MODULE", help="a module with parts of your own")
    for flag in flags:
        text = flag.text.partition(". ")[0].replace("%", "%%")
        if not flag.name:
            argument = page.add_argument(flag.metavar.strip("[]").lower(), nargs="?", help=text)
        elif not flag.metavar:
            argument = page.add_argument(flag.name, action="store_true", help=text)
        else:
            argument = page.add_argument(flag.name, metavar=flag.metavar.replace("%", "%%"), help=text)
        if flag.words:
            argument.choices = flag.words
        elif not flag.name or "PATH" in flag.metavar:
            argument.complete = _files()  # type: ignore[attr-defined]


def _files() -> Any:
    import shtab

    return shtab.FILE
