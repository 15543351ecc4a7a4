"""Storage of studies: a SQLite file for one machine, a journal file or PostgreSQL for many workers."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import optuna
import sqlalchemy
from optuna import Study
from optuna.exceptions import StorageInternalError
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from elucidiff.plain_data import first_difference
from elucidiff.untrusted import clipped, parse_json, printable

LOCKED_S = 30  # so long another program may write to a SQLite file
CONNECT_S = 10
_SQLITE, _JOURNAL = (".db", ".sqlite", ".sqlite3"), (".journal", ".log")
_ATTEMPTS = 5


def open_storage(where: str) -> BaseStorage:
    """Open, or begin, what holds studies.

    Args:
        where: a file ``*.db``, for SQLite, or ``*.journal``, which also does on a network drive; or the URL of a
            PostgreSQL database, ``postgresql://user:password@host:port/database``.

    Raises:
        ValueError: ``where`` is none of these, a file is something else, or a library is missing.
        OSError: the database cannot be reached, is locked, or cannot be written.
    """
    with storage_errors(where):
        if "://" not in where and Path(where).suffix in _JOURNAL:
            return _journal(Path(where))
        url = _url(where)
        if url.drivername == "sqlite" and url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            arguments = {"timeout": LOCKED_S}
        else:
            arguments = {"connect_timeout": CONNECT_S}
        return _begin(url, {"connect_args": arguments, "pool_pre_ping": True})


def dashboard_command(where: str) -> str:
    """The command that shows a study in the browser, without a password."""
    if "://" not in where and Path(where).suffix in _JOURNAL:
        return f"optuna-dashboard {where}"
    return f"optuna-dashboard {without_password(where)}"


def without_password(where: str) -> str:
    """``where`` as it may be shown and kept."""
    if "://" not in where and Path(where).suffix in _JOURNAL:
        return where
    return _url(where).render_as_string(hide_password=True)


@contextlib.contextmanager
def storage_errors(where: str) -> Iterator[None]:
    """Tell what goes wrong with a storage in one line.

    Raises:
        ValueError: a file is no storage.
        OSError: anything else.
    """
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        reason = _reason(error)
        place = f"the study in {without_password(where)}"
        if "not a database" in reason:
            raise ValueError(f"{place} cannot be read: {reason}; choose another --storage") from None
        if "locked" in reason:
            raise BlockingIOError(
                f"{place} is locked by another program for more than {LOCKED_S} s: end that, or use PostgreSQL or a "
                "*.journal file for many workers; the same command goes on"
            ) from None
        raise OSError(f"{place} cannot be used: {reason}; once that is mended, the same command goes on") from None


def _journal(path: Path) -> JournalStorage:
    """The storage in a file that has a line for everything that ever happened."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileSymlinkLock(str(path))
    if path.exists():
        lock.acquire()
        try:
            with path.open("rb+") as file:
                first = file.readline()
                if first and not _is_entry(first):
                    raise ValueError(
                        f"the study in {path} cannot be read: it is no journal; choose another --storage"
                    )
                # A disk that filled up in the middle of a line would spoil the next one too.
                content = first + file.read()
                if not content.endswith(b"\n"):
                    file.truncate(content.rfind(b"\n") + 1)
        finally:
            lock.release()
    try:
        return JournalStorage(JournalFileBackend(str(path), lock))
    except OSError:
        raise
    except Exception as error:  # Optuna goes through all lines again, and meets damage with errors of all types
        raise ValueError(
            f"the study in {printable(str(path))} cannot be read: a line of it is damaged"
            f" ({type(error).__name__}: {clipped(' '.join(str(error).split()))}); choose another --storage"
        ) from None


def _is_entry(line: bytes) -> bool:
    try:
        entry = parse_json(line, "")
    except ValueError:
        return not line.endswith(b"\n") and line.startswith(b"{")
    return isinstance(entry, dict) and "op_code" in entry


def _url(where: str) -> URL:
    """``where`` as the URL of a database, with the driver that the extra ``search`` brings."""
    if "://" not in where:
        if Path(where).suffix in _SQLITE:
            return URL.create("sqlite", database=where)
        raise ValueError(
            f"--storage {where} is neither a file *.db or *.journal nor a URL such as postgresql://user@host/database"
        )
    try:
        url = make_url(where)
    except ArgumentError:
        raise ValueError(
            "--storage is no URL of a database: write postgresql://user:password@host:port/database"
        ) from None
    if url.get_backend_name() == "sqlite":
        return url
    if url.get_backend_name() != "postgresql":
        raise ValueError(
            f"--storage is a {url.get_backend_name()} database: use SQLite, PostgreSQL or a *.journal file"
        )
    if importlib.util.find_spec("psycopg") is None:
        raise ValueError("PostgreSQL needs psycopg: pip install 'elucidiff[search]'")
    return url.set(drivername="postgresql+psycopg")


def _begin(url: URL, engine: dict[str, object]) -> RDBStorage:
    """The storage, whose tables several workers may be creating at once: then all but one of them fail."""
    for attempt in range(_ATTEMPTS):
        try:
            return RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=dict(engine))
        except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError, StorageInternalError):
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.2 * 2**attempt)
        except sqlalchemy.exc.OperationalError as error:
            if "already exists" not in _reason(error) or attempt == _ATTEMPTS - 1:  # the same, from SQLite
                raise
            time.sleep(0.2 * 2**attempt)
    raise AssertionError("unreachable")


def _reason(error: BaseException) -> str:
    """The first line of what the database itself says."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    text = str(getattr(cause, "orig", None) or cause).strip()
    return text.splitlines()[0].rstrip(".") if text else type(cause).__name__


FACTS = "elucidiff"
Direction = Literal["minimize", "maximize"]


def open_study(
    storage: BaseStorage,
    name: str,
    facts: Mapping[str, Any],
    directions: list[Direction],
    sampler: BaseSampler,
    pruner: BasePruner,
) -> Study:
    """The study of a name, begun if there is none.

    Args:
        storage: where it is.
        name: its name.
        facts: all that decides its results, as JSON-able values: model, space, objective, seeds.
        directions: of its objectives.
        sampler: proposes trials.
        pruner: prunes trials.

    Raises:
        ValueError: the study was begun with other facts, by something else, or by hand.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=directions,
        sampler=sampler,
        pruner=pruner,
        load_if_exists=True,
    )
    attributes = study.user_attrs
    if FACTS not in attributes:
        if study.get_trials(deepcopy=False):
            raise ValueError(f"the study {name!r} was not begun by elucidiff search: choose another --study")
        study.set_user_attr(FACTS, dict(facts))
        attributes = study.user_attrs  # where several workers begin at once, all see the last one's
    if difference := first_difference(attributes[FACTS], facts):
        what, before, now = difference
        raise ValueError(
            f"the study {name!r} was begun with {_told(what, before)}, not {_told(what, now)}: "
            "choose another --study, or the same settings"
        )
    return study


def _told(what: str, value: Any) -> str:
    text = f"{value}"
    return f"{what.replace('.', ' ')} = {text if len(text) < 60 else text[:57] + '...'}"
