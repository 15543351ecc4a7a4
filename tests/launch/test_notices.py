"""Notices between processes; threads stand in for them here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import torch.distributed as dist

from elucidiff.launch import coordination as notices
from elucidiff.launch.coordination import NoticeBoard, failing_once, is_main_process


def boards(count: int, attempt: int = 0, store: dist.HashStore | None = None) -> list[NoticeBoard]:
    store = store or dist.HashStore()
    return [NoticeBoard(store, rank, count, attempt) for rank in range(count)]


def at_once(*calls: Callable[[], object]) -> list[object]:
    """What they return; those that raise return the error."""
    results: list[object] = [None] * len(calls)

    def call(place: int) -> None:
        try:
            results[place] = calls[place]()
        except Exception as error:
            results[place] = error

    threads = [threading.Thread(target=call, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def test_all_hear_what_the_first_says_each_time() -> None:
    main, one, two = boards(3)
    for text in ("a", "b", ""):
        assert at_once(*(lambda b=board, t=text: b.from_main(t) for board in (one, two, main))) == [text] * 3


def test_meeting_takes_all() -> None:
    first, second, late = boards(3)
    met: list[float] = []

    def come(board: NoticeBoard, after: float) -> None:
        time.sleep(after)
        board.meet()
        met.append(time.monotonic())

    begun = time.monotonic()
    at_once(lambda: come(first, 0), lambda: come(second, 0), lambda: come(late, 0.3))
    assert len(met) == 3
    assert min(met) - begun >= 0.3


@pytest.mark.parametrize("wait", ["from_main", "meet"])
def test_nobody_waits_for_one_that_failed(wait: str) -> None:
    main, other = boards(2)
    assert main.first_to_fail()
    (error,) = at_once(getattr(other, wait))
    assert isinstance(error, ConnectionAbortedError)


def test_the_first_to_fail_stays_the_first() -> None:
    main, one, two = boards(3)
    assert one.first_to_fail()
    assert not main.first_to_fail()
    assert not two.first_to_fail()
    assert one.first_to_fail()


def test_an_attempt_sees_of_earlier_ones_only_which_run_was_begun() -> None:
    store = dist.HashStore()
    main, other = boards(2, 0, store)
    main.from_main("old")
    main.note_begun("/runs/mine")
    assert other.first_to_fail()
    main, other = boards(2, 1, store)
    assert at_once(other.from_main, lambda: main.from_main("new")) == ["new", "new"]
    assert other.has_begun("/runs/mine")
    assert not other.has_begun("/runs/yours")


class TestFailingOnce:
    @pytest.fixture
    def pair(self, monkeypatch: pytest.MonkeyPatch) -> tuple[NoticeBoard, NoticeBoard]:
        """The board of another process, and that of this one, which has rank 1."""
        other, mine = boards(2)
        monkeypatch.setattr(notices, "notice_board", lambda: mine)
        return other, mine

    def test_the_first_failure_passes(self, pair: tuple[NoticeBoard, NoticeBoard]) -> None:
        with pytest.raises(ValueError, match="the reason"), failing_once(), failing_once():
            raise ValueError("the reason")
        assert not pair[0].first_to_fail()

    def test_later_ones_are_not_worth_telling(self, pair: tuple[NoticeBoard, NoticeBoard]) -> None:
        assert pair[0].first_to_fail()
        for error in (ValueError("the same"), RuntimeError("gloo: connection closed"), dist.DistStoreError("gone")):
            with pytest.raises(ConnectionAbortedError), failing_once():
                raise error

    def test_a_lost_connection_that_nobody_explains(self, pair: tuple[NoticeBoard, NoticeBoard]) -> None:
        with pytest.raises(ConnectionResetError, match="killed, or its machine is gone"), failing_once():
            raise RuntimeError("[.../gloo/transport/tcp/pair.cc:561] Connection closed by peer")

    def test_other_errors_of_the_first_keep_their_type(self, pair: tuple[NoticeBoard, NoticeBoard]) -> None:
        with pytest.raises(RuntimeError, match="out of memory"), failing_once():
            raise RuntimeError("out of memory")

    def test_only_the_first_process_tells_about_the_run(self, pair: tuple[NoticeBoard, NoticeBoard]) -> None:
        assert not is_main_process()

    def test_without_a_launcher_nothing_changes(self) -> None:
        assert notices.notice_board() is None
        assert is_main_process()
        with pytest.raises(RuntimeError, match="gloo"), failing_once():
            raise RuntimeError("gloo")


def test_numbers_notices_and_stopping() -> None:
    main, one, two = boards(3)
    assert [board.count_up("shards") for board in (one, main, two)] == [1, 2, 3]
    assert main.count_up("shards", 0) == 3
    one.post("first")
    two.post("second")
    assert list(main.posted()) == ["first", "second"]
    assert list(main.posted()) == []
    two.post("third")
    assert list(main.posted()) == ["third"]
    assert main.stopped() is None
    one.stop("SIGTERM")
    assert [board.stopped() for board in (main, one, two)] == ["SIGTERM"] * 3
    assert two.first_to_fail()
    with pytest.raises(ConnectionAbortedError, match="another process of the run failed"):
        main.stopped()


def test_differences_are_refused_where_they_are() -> None:
    main, one = boards(2)
    facts = {"seeds": "0-9", "sampler": {"n": 3}}
    results = at_once(
        lambda: main.refuse_differences(facts), lambda: one.refuse_differences({**facts, "sampler": {"n": 4}})
    )
    assert results[0] is None
    assert isinstance(results[1], ValueError)
    assert "process 1 has sampler.n 4, but process 0 has 3" in str(results[1])
