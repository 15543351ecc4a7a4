"""Where studies are kept, and what is said when that cannot be used."""

from __future__ import annotations

import resource
import socket
import sqlite3
import sys
from pathlib import Path

import pytest

from elucidiff.evaluation.search import open_storage, storage, work
from elucidiff.evaluation.search.storage import dashboard_command, storage_errors, without_password
from tests.evaluation.search.studies import begin, end_of, journal, parabola, search


def refused(where: str) -> str:
    with pytest.raises((ValueError, OSError), match=r"^[^\n]*$") as caught, storage_errors(where):
        work(search(trials=3), open_storage(where), "s", parabola)
    return str(caught.value)


def test_a_locked_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "LOCKED_S", 0.1)
    where = str(tmp_path / "study.db")
    open_storage(where)
    with sqlite3.connect(where, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        said = refused(where)
    assert said.startswith(f"the study in sqlite:///{where} is locked by another program for more than 0.1 s")
    assert work(search(trials=1), open_storage(where), "s", parabola).trials == 1


@pytest.mark.parametrize("storage", ["study.db", "study.journal"])
def test_a_file_that_is_something_else(tmp_path: Path, storage: str) -> None:
    where = tmp_path / storage
    where.write_bytes(b"a letter to a friend\n" * 100)
    assert "cannot be read: " in refused(str(where))
    assert where.read_bytes() == b"a letter to a friend\n" * 100


@pytest.mark.parametrize(
    ("old", "new"), [(b'"op_code"', b'"op_cod"'), (b'"study_name"', b'"study_nam\xff"'), (b"}\n", b"\n")]
)
def test_a_journal_with_a_damaged_line(tmp_path: Path, old: bytes, new: bytes) -> None:
    where = Path(journal(tmp_path))
    work(search(trials=1), open_storage(str(where)), "s", parabola)
    content = where.read_bytes()
    first, rest = content.split(b"\n", 1)
    assert old in first + b"\n"
    where.write_bytes(first + b"\n" + (first + b"\n").replace(old, new) + rest)
    assert f"the study in {where} cannot be read: a line of it is damaged (" in refused(str(where))


def test_a_database_that_cannot_be_reached() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = refused(f"postgresql://me:secret@127.0.0.1:{port}/studies")
    assert said.startswith(f"the study in postgresql+psycopg://me:***@127.0.0.1:{port}/studies cannot be used: ")
    assert "refused" in said
    assert "the same command goes on" in said


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("study.txt", "--storage study.txt is neither a file *.db or *.journal nor a URL"),
        ("mysql://me@host/studies", "--storage is a mysql database: use SQLite, PostgreSQL"),
        ("://", "--storage is no URL of a database"),
    ],
)
def test_other_places(where: str, said: str) -> None:
    assert said in refused(where)


def test_without_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert refused("postgresql://me@host/studies") == "PostgreSQL needs psycopg: pip install 'elucidiff[search]'"


@pytest.mark.parametrize("storage", ["study.db", "study.journal"])
def test_a_full_disk(tmp_path: Path, storage: str) -> None:
    """A limit on the size of files stands in for it; what is there already can be gone on with."""
    where, said = str(tmp_path / storage), tmp_path / "said"
    begun = search(trials=2)
    work(begun, open_storage(where), "s", parabola)
    size = Path(where).stat().st_size

    def without_space() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))  # ends in the middle of a line
        try:
            with storage_errors(where):
                work(search(trials=40), open_storage(where), "s", parabola)
        except (ValueError, OSError) as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            said.write_text(f"{type(error).__name__}: {error}")
            raise

    assert end_of(begin(without_space)) == 1
    assert "\n" not in said.read_text()
    assert not said.read_text().startswith("ValueError")
    assert work(search(trials=4), open_storage(where), "s", parabola).trials == 4


def test_passwords_are_not_shown() -> None:
    where = "postgresql://me:secret@host/studies"
    assert without_password(where) == "postgresql+psycopg://me:***@host/studies"
    assert dashboard_command(where) == "optuna-dashboard postgresql+psycopg://me:***@host/studies"
    assert dashboard_command("a/study.db") == "optuna-dashboard sqlite:///a/study.db"
    assert dashboard_command(journal(Path("a"))) == "optuna-dashboard a/study.journal"
