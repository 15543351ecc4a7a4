"""Modules of other people: imported where the user names them, and only there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from elucidiff import parts, plugins
from elucidiff.cli.main import main
from elucidiff.solvers import Heun
from tests.nothing_left_behind import nothing_left_behind

PLUGIN = """
from dataclasses import dataclass
import elucidiff as ed

@ed.part("solver", "{name}")
@dataclass(frozen=True)
class Mine(ed.solvers.Heun):
    'Heun again.'
"""


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Leave no plugin, path or part behind."""
    with nothing_left_behind(tmp_path, monkeypatch):
        yield


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("joined", [True, False])
def test_a_plugin_may_stand_anywhere(before: bool, joined: bool, capsys: pytest.CaptureFixture[str]) -> None:
    Path("anywhere.py").write_text(PLUGIN.format(name="anywhere"))
    flag = ["--plugin=anywhere.py"] if joined else ["--plugin", "anywhere.py"]
    words = ["parts", "solver", "anywhere"]
    assert main([*flag, *words] if before else [*words, *flag]) == 0
    assert "solver anywhere: Heun again." in capsys.readouterr().out


def test_modules_packages_and_several_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    Path("single.py").write_text(PLUGIN.format(name="single"))
    Path("package").mkdir()
    Path("package/__init__.py").touch()
    Path("package/inner.py").write_text(PLUGIN.format(name="inner"))
    assert main(["parts", "solver", "--plugin", "single", "--plugin", "package.inner"]) == 0
    listed = capsys.readouterr().out
    assert "  single " in listed
    assert "  inner " in listed
    assert os.environ[plugins.VARIABLE].split(os.pathsep) == ["single", "package.inner"]


def test_a_file_may_have_the_name_of_a_known_module() -> None:
    known = sys.modules["random"]
    Path("random.py").write_text(PLUGIN.format(name="of_random"))
    plugins.use_plugins(["random.py"])
    assert sys.modules["random"] is known
    assert parts.parse("solver", "of_random").order == 2


def test_processes_that_are_started_know_the_plugins() -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/inherited.py").write_text(PLUGIN.format(name="inherited"))
    plugins.use_plugins(["elsewhere/inherited.py"])
    script = "import elucidiff as ed; print(ed.Sampler(solver='inherited').to_text())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd="/")
    assert (done.stdout, done.stderr) == ("solver=inherited\n", "")


def test_what_a_spawned_process_is_sent_is_found_there() -> None:
    """Objects of a plugin's classes travel as the name of their module."""
    Path("travels.py").write_text(PLUGIN.format(name="travels"))
    script = """
import multiprocessing, elucidiff as ed
from elucidiff.plugins import use_plugins
if __name__ == "__main__":
    use_plugins(["travels.py"])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(ed.parts.to_text, [ed.parts.parse("solver", "travels")]))
"""
    Path("main.py").write_text(script)
    done = subprocess.run([sys.executable, "main.py"], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("travels\n", "")


def test_installed_packages_bring_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("installed.py").write_text(PLUGIN.format(name="installed"))
    folder = Path("installed-1.0.dist-info")
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: installed\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[elucidiff.plugins]\nsolvers = installed\n")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    plugins._load_installed.cache_clear()
    try:
        assert parts.to_text(parts.parse("solver", "installed")) == "installed"
    finally:
        plugins._load_installed.cache_clear()


@pytest.mark.parametrize(
    ("content", "flag", "says"),
    [
        (None, "nobodys", "there is no plugin nobodys: name a module that Python finds, or a .py file"),
        (None, "nobodys.py", "nobodys.py: name a module that Python finds, or a .py file"),
        ("raise RuntimeError('first\\nsecond')", "broken.py", "cannot be imported: RuntimeError: first second"),
        ("def (", "broken.py", "cannot be imported: SyntaxError"),
        ("import sys; sys.exit(3)", "broken.py", "cannot be imported: SystemExit: 3"),
        ("import nobodys_module", "broken.py", "ModuleNotFoundError: No module named 'nobodys_module'"),
        (PLUGIN.format(name="heun"), "broken.py", "there is a solver 'heun' already"),
        (None, "", "--plugin needs a module"),
        (None, "--steps", "--plugin needs a module"),
    ],
)
def test_a_plugin_that_is_missing_or_broken_is_one_line(
    content: str | None, flag: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        Path(flag).write_text(content)
    for words in (["parts", "--plugin", flag], ["--plugin", flag, "sample", "nothing"]):
        assert main(words) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert says in err


def test_a_variable_that_names_nothing_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(plugins.VARIABLE, "nobodys")
    assert main(["parts"]) == 2
    assert capsys.readouterr().err == (
        "elucidiff parts: error: there is no plugin nobodys: name a module that Python finds, or a .py file\n"
    )


def test_a_verb_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    Path("greets.py").write_text(
        """
from dataclasses import dataclass
import elucidiff as ed
from elucidiff.cli.common.verbs import Verb

@ed.part("verb", "greet")
@dataclass(frozen=True)
class Greet(Verb):
    'Say hello.'
    name: str = "you"
    'Whom.'
    def run(self):
        if self.name == "nobody":
            raise ValueError("there is nobody to greet")
        print(f"hello, {self.name}")
"""
    )
    assert main(["greet", "--name", "Ada", "--plugin", "greets"]) == 0
    assert capsys.readouterr().out == "hello, Ada\n"
    assert main(["--help"]) == 0
    assert "  greet        Say hello." in capsys.readouterr().out
    for words, says in (
        (["greet", "--name", "nobody"], "there is nobody to greet"),
        (["greet", "--nane", "Ada"], "did you mean --name?"),
        (["greed"], "unknown verb 'greed'; did you mean 'greet'?"),
    ):
        assert main(words) == 2
        assert says in capsys.readouterr().err


def test_a_name_of_the_library_is_taken_even_if_the_plugin_came_first() -> None:
    """As on the command line, where a room is imported after the plugins; or where a later version has that name."""
    Path("earlier.py").write_text(PLUGIN.format(name="disputed"))
    plugins.use_plugins(["earlier.py"])

    @dataclass(frozen=True)
    class Ours(Heun):
        pass

    Ours.__module__ = "elucidiff.solvers.disputed"
    taken = r"'disputed' already, elucidiff\.solvers\.disputed\..*: choose another name for earlier\.Mine$"
    with pytest.raises(ValueError, match=taken):
        parts.part("solver", "disputed")(Ours)
