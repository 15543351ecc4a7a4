"""Completion in a real bash: what it offers after some words."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from elucidiff.cli.completion import parser
from elucidiff.cli.main import VERBS, main

WORDS = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
function=$(complete -p elucidiff | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function elucidiff "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    path = tmp_path_factory.mktemp("completion") / "elucidiff.bash"
    import shtab

    path.write_text(shtab.complete(parser(), "bash"))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("elucidiff s", {"sample", "steps", "search"}),
        ("elucidiff sample model --so", {"--solver"}),
        ("elucidiff sample model --solver ip", {"ipndm"}),
        ("elucidiff sample model --table v", {"vp", "ve"}),
        ("elucidiff data i", {"import", "inspect"}),
        ("elucidiff data import --crop s", {"stretch"}),
        ("elucidiff steps optimise --max", {"--max-minutes"}),
        ("elucidiff train fa", {"fashion-mnist"}),
        ("elucidiff train photos --minu", {"--minutes"}),
        ("elucidiff figure t", {"trajectory"}),
        ("elucidiff parts sol", {"solver"}),
        ("elucidiff completion z", {"zsh"}),
        ("elucidiff sample pict", {"pictures"}),
        ("elucidiff xyz", {""}),
    ],
)
def test_what_is_offered(script: Path, tmp_path: Path, words: str, offered: set[str]) -> None:
    (tmp_path / "pictures").mkdir()
    command = ["bash", "-c", WORDS, "bash", str(script), *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60)
    assert set(done.stdout.splitlines() or [""]) == offered


def test_it_knows_every_verb_and_is_printed_for_each_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("#compdef elucidiff")
    assert all(f"    {verb}:'" in printed for verb in VERBS)
    assert main(["completion", "powershell"]) == 2
    assert "bash" in capsys.readouterr().err
