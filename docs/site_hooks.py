"""Hooks of MkDocs (`mkdocs.yml`): pages of the reference, formulas as MathML, copies of files that are linked."""

from __future__ import annotations

import html
import inspect
import posixpath
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import elucidiff as ed

# Files of the repository that pages link to. On GitHub the links lead to the files themselves.
LINKED = ("Dockerfile", "CONTRIBUTING.md", "CHANGELOG.md", "examples/cluster/*")
LINK = re.compile(r"\]\((?P<target>\.\./[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
ROLE = re.compile(r":(?:mod|class|func|meth|attr|data|obj):(<code>)[~.]?")  # of Sphinx, in docstrings
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)

# Pages of the reference, and the public names of `elucidiff` on each.
REFERENCE = {
    "sampling": (
        "Sampling",
        ("sample", "Sampler", "SeededNoise", "Churn", "Restart", "sampling", "inverse", "table"),
    ),
    "solvers": ("Solvers", ("solvers",)),
    "design-space": ("The design space", ("schedules", "steps", "preconditioning", "objectives")),
    "denoisers": ("Denoisers", ("load", "Denoiser", "with_backend", "ideal", "adapters", "guided")),
    "networks": ("Networks", ("networks", "autoencoders")),
    "training": ("Training", ("training", "augment")),
    "data": ("Data", ("data",)),
    "evaluation": ("Evaluation and figures", ("evaluation", "figures")),
    "interop": ("Models of other libraries", ("interop",)),
    "parts": ("Parts", ("part", "parts")),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference's pages, and the linked files of the repository as `files/NAME.txt`."""
    root = Path(config.config_file_path).parent
    for pattern in LINKED:
        for path in sorted(root.glob(pattern)):
            name = f"files/{path.relative_to(root).as_posix()}.txt"
            files.append(File.generated(config, name, content=path.read_bytes()))
    told = {name for _, names in REFERENCE.values() for name in names}
    if left_out := set(ed.__all__) - told:
        raise PluginError(f"REFERENCE in docs/site_hooks.py has no page for {', '.join(sorted(left_out))}")
    seen: set[str] = set()
    for page, (title, names) in REFERENCE.items():
        lines = [f"# {title}", ""]
        for name in names:
            lines += _described(name, seen)
        files.append(File.generated(config, f"reference/{page}.md", content="\n".join(lines)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Point links that leave `docs` at the copies."""
    folder = posixpath.dirname(page.file.src_uri)

    def copied(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", folder, link["target"]))
        if target.startswith("docs/"):
            return link[0]
        return f"]({posixpath.relpath(f'files/{target}.txt', folder or '.')})"

    return LINK.sub(copied, markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Write formulas as MathML, which browsers draw by themselves, and names in docstrings without their roles."""

    def drawn(formula: re.Match[str]) -> str:
        return convert(html.unescape(formula[2]).strip(), display="block" if formula[1] == "div" else "inline")

    return FORMULA.sub(drawn, ROLE.sub(r"\1", content))


def _described(name: str, seen: set[str]) -> list[str]:
    """A public name for mkdocstrings; a module's by its own public names. `seen` keeps each from coming twice."""
    found = getattr(ed, name)
    if not isinstance(found, ModuleType):
        return _object(found, seen)
    lines = [f"## ed.{name}", "", inspect.cleandoc(found.__doc__ or "").split("\n\n")[0], ""]
    own = [key for key, value in vars(found).items() if getattr(value, "__module__", "") == found.__name__]
    for key in getattr(found, "__all__", [key for key in own if not key.startswith("_")]):
        value = getattr(found, key)
        for each in vars(value).values() if isinstance(value, ModuleType) else [value]:
            if not isinstance(value, ModuleType) or _is_public(each, value.__name__):
                lines += _object(each, seen)
    return lines


def _is_public(value: object, module: str) -> bool:
    return getattr(value, "__module__", "") == module and not getattr(value, "__name__", "_").startswith("_")


def _object(value: object, seen: set[str]) -> list[str]:
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return []
    path = f"{value.__module__}.{value.__qualname__}"
    if path in seen:
        return []
    seen.add(path)
    return [f"::: {path}", "    options: {heading_level: 3}", ""]
