"""Three workers on a real PostgreSQL server, one of which is killed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from elucidiff.evaluation.search import Outcome, Search, open_storage, rows, work
from elucidiff.sampling import Sampler
from tests.evaluation.search.studies import begin, churn, end_of, parabola, rho, search

pytest.importorskip("psycopg")
BINARIES = [*Path("/usr/lib/postgresql").glob("*/bin"), *map(Path, os.get_exec_path())]
BIN = next((folder for folder in BINARIES if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BIN is None, reason="there are no PostgreSQL binaries: install the package postgresql"),
]


def someone_else() -> dict[str, Any]:
    """Whom the server runs as: it refuses root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    return {"user": "postgres" if "postgres" in names else "nobody", "extra_groups": []}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a database on a server of its own."""
    assert BIN is not None
    # Not in pytest's own folder, which is closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="elucidiff-postgres-"))
    who = someone_else()
    if who:
        shutil.chown(folder, who["user"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def call(*words: str) -> None:
        subprocess.run(words, check=True, cwd=folder, stdout=subprocess.DEVNULL, **who)

    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    call(str(BIN / "initdb"), "-D", f"{folder}/data", "-A", "trust", "-U", "me", "--no-sync")
    call(str(BIN / "pg_ctl"), "-D", f"{folder}/data", "-w", "-l", f"{folder}/log", "-o", options, "start")
    try:
        yield f"postgresql://me@127.0.0.1:{port}/postgres"
    finally:
        call(str(BIN / "pg_ctl"), "-D", f"{folder}/data", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def in_parallel(where: str, wanted: Search, folder: Path, kill: bool) -> list[int]:
    """Let three workers do a study; the exit code of each. Each notes in ``folder`` what it measures."""

    def worker(name: int) -> Callable[[], object]:
        def slowly(sampler: Sampler, seeds: Sequence[int]) -> Outcome:
            with (folder / f"{name}").open("a") as file:
                file.write(f"{rho(sampler)} {churn(sampler)} {len(seeds)}\n")
            time.sleep(0.05)
            return parabola(sampler, seeds)

        return lambda: work(wanted, open_storage(where), folder.name, slowly)

    processes = [begin(worker(k)) for k in range(3)]
    if kill:
        while not (folder / "1").exists() or len((folder / "1").read_text().splitlines()) < 3:
            time.sleep(0.02)
        os.kill(processes[1], signal.SIGKILL)
    return [end_of(process) for process in processes]


@pytest.mark.parametrize("kill", [False, True])
def test_three_workers_share_a_grid(server: str, tmp_path: Path, kill: bool) -> None:
    wanted = search(over=("rho=3:12:1", "churn=0,2,4"), method="grid", rungs=(90,), trials=99)
    codes = in_parallel(server, wanted, tmp_path, kill)
    assert codes == [0, -signal.SIGKILL if kill else 0, 0]
    done = work(wanted, open_storage(server), tmp_path.name, parabola)  # what is left, if there is anything
    alone = work(wanted, InMemoryStorage(), "s", parabola)
    assert rows(done.study, wanted, 30) == rows(alone.study, wanted, 30)
    measured = [(tmp_path / f"{k}").read_text().splitlines() for k in range(3)]
    assert all(len(by_one) > 2 for by_one in measured)
    assert len(set().union(*measured)) == 30
    # Nothing is done twice but the trial that the killed one had, by both others if they miss it at the same moment,
    # and one at the end, of which a worker has not yet written that it took it when another looks.
    assert sum(map(len, measured)) <= 31 + 2 * kill


def test_three_workers_learn_from_each_other(server: str, tmp_path: Path) -> None:
    wanted = search(over=("rho=1:40", "churn=0:7"), trials=45)
    assert in_parallel(server, wanted, tmp_path, kill=True) == [0, -signal.SIGKILL, 0]
    done = work(wanted, open_storage(server), tmp_path.name, parabola)
    trials = done.study.trials
    assert [trial.number for trial in trials if trial.state is not TrialState.WAITING] == list(range(45))
    assert {trial.state for trial in trials[:45]} == {TrialState.COMPLETE, TrialState.PRUNED}
    late = [trial.params["steps.rho"] for trial in trials[25:45]]
    assert sum(abs(rho - 5) < 8 for rho in late) > 12  # by chance, 13 in 39 of them would be
