"""The line before the explorer: who is next, and who is refused."""

from __future__ import annotations

import threading

import pytest

from elucidiff.web.line import FullError, Line


def test_the_twentieth_that_would_wait_is_refused_and_a_place_that_is_left_is_free_again() -> None:
    line = Line(lanes=1)
    working = line.join("first")
    waiting = [line.join(f"browser {k}") for k in range(19)]
    assert working.at_work
    assert line.waiting == 19
    with pytest.raises(FullError, match="19 requests are waiting already: please try again"):
        line.join("twentieth")
    waiting[4].leave()
    line.join("twentieth")


def test_two_browsers_take_turns_however_much_one_of_them_asks_for() -> None:
    line = Line(lanes=1)
    tickets = [*(line.join("many") for _ in range(6)), *(line.join("few") for _ in range(2))]
    order = []
    while tickets:
        working = next(each for each in tickets if each.at_work)
        order.append(working.who)
        tickets.remove(working)
        working.leave()
    assert order == ["many", "few", "many", "few", "many", "many", "many", "many"]


def test_a_newcomer_does_not_catch_up_with_what_others_were_given_before() -> None:
    line = Line(lanes=1)
    tickets = [line.join("old") for _ in range(12)]
    for _ in range(6):
        working = next(each for each in tickets if each.at_work)
        tickets.remove(working)
        working.leave()
    tickets += [line.join("new") for _ in range(4)]
    order = []
    for _ in range(6):
        working = next(each for each in tickets if each.at_work)
        order.append(working.who)
        tickets.remove(working)
        working.leave()
    assert order == ["old", "new", "old", "new", "old", "new"]


def test_one_browser_never_works_in_both_lanes() -> None:
    line = Line(lanes=2)
    first, second = line.join("a"), line.join("a")
    assert (first.at_work, second.at_work) == (True, False)
    assert line.join("b").at_work


def test_places_ahead_are_counted_in_the_order_of_service() -> None:
    line = Line(lanes=1)
    line.join("a")
    second, third, other = line.join("a"), line.join("a"), line.join("b")
    assert (other.ahead, second.ahead, third.ahead) == (0, 1, 2)


def test_waiting_ends_with_the_turn_and_leaving_twice_does_no_harm() -> None:
    line = Line(lanes=1)
    first, second = line.join("a"), line.join("b")
    assert not second.wait(0.01)
    threading.Timer(0.05, first.leave).start()
    assert second.wait(10)
    with second:
        pass
    second.leave()
    assert line.join("c").at_work
