"""Several browsers at the desk: shown what comes, fair, refused politely, stopped, and forgotten when they leave."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import pytest

import elucidiff as ed
from elucidiff.web.engine import Explorer, Outcome
from elucidiff.web.handling import Desk, Shown
from elucidiff.web.line import Line
from elucidiff.web.request import Request

SHORT, LONG = Request(ed.Sampler(n=6), "0-3"), Request(ed.Sampler(n=500), "0-31")


@pytest.fixture(scope="module")
def explorer() -> Explorer:
    return Explorer()


async def all_of(desk: Desk, who: str, *requests: Request, compare: bool = False) -> list[Shown]:
    asked = list(zip("AB", requests, strict=False))
    return [shown async for shown in desk.serve(who, asked, compare=compare)]


def words(shown: Sequence[Shown]) -> list[str]:
    return [re.sub(r"<[^>]*>", "", each.said or "").strip() for each in shown]


def test_two_settings_are_drawn_compared_and_shown_with_their_ways(explorer: Explorer) -> None:
    euler = Request(ed.Sampler(n=6, solver="euler"), "0-3")
    *_, last = asyncio.run(all_of(Desk(explorer, Line()), "ann", SHORT, euler, compare=True))
    assert last.said is not None
    assert "Done" in last.said
    assert last.sides is not None
    assert last.sides.count("data-pick=") == 8
    assert "NFE 11" in last.sides
    assert "NFE 6" in last.sides
    assert last.sides.count("RMS from the exact solution") == 2
    assert last.strip is not None
    assert last.strip.count("<img") == 2 * 2 * 7  # of both: x and D at six levels and at the end
    assert last.plots is not None
    assert last.plots.count("<svg") == 2
    assert last.recipes is not None
    assert "--solver euler" in last.recipes


def test_images_come_while_it_works(explorer: Explorer) -> None:
    shown = asyncio.run(all_of(Desk(explorer, Line()), "ann", LONG))
    under_way = [each for each in shown if each.sides is not None and "data-pick" not in each.sides]
    assert len(under_way) >= 2
    assert all(each.sides is not None and each.sides.count("<img") == 32 for each in under_way)


def test_a_browser_that_asks_much_does_not_keep_another_waiting(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    draw = explorer.draw

    def noted(request: Request, *others: Any) -> Outcome:
        begun.append(request.seeds)
        return draw(request, *others)

    monkeypatch.setattr(explorer, "draw", noted)

    async def both() -> None:
        desk = Desk(explorer, Line(lanes=1))
        many = [all_of(desk, "many", Request(ed.Sampler(n=100), f"{k}")) for k in range(5)]
        await asyncio.gather(*many, all_of(desk, "one", Request(ed.Sampler(n=6), "100")))

    asyncio.run(both())
    assert begun == ["0", "100", "1", "2", "3", "4"]


def test_the_twentieth_that_would_wait_is_asked_to_come_again(explorer: Explorer) -> None:
    async def crowd() -> tuple[list[str], list[Shown]]:
        desk = Desk(explorer, Line(lanes=1))
        tasks = [asyncio.create_task(all_of(desk, f"browser {k}", LONG)) for k in range(20)]
        await asyncio.sleep(0.2)
        assert desk.line.waiting == 19
        refused = await all_of(desk, "late", SHORT)
        for k in range(20):
            desk.stop(f"browser {k}")
        ends = [words(each)[-1] for each in await asyncio.gather(*tasks)]
        return ends, refused

    ends, refused = asyncio.run(crowd())
    assert words(refused) == ["19 requests are waiting already: please try again in a minute."]
    assert sorted(ends) == ["Stopped while waiting."] * 19 + ["Stopped."]


def test_who_closes_the_page_leaves_neither_work_nor_a_place_behind(explorer: Explorer) -> None:
    async def leave() -> int:
        desk = Desk(explorer, Line(lanes=1))
        serving = desk.serve("ann", [("A", LONG)], compare=True)
        async for shown in serving:
            if shown.sides:
                break
        await serving.aclose()  # type: ignore[attr-defined]
        desk.left("ann")
        for _ in range(200):
            ticket = desk.line.join("bob")
            if ticket.at_work:
                return len(desk.last("ann"))
            ticket.leave()
            await asyncio.sleep(0.05)
        raise AssertionError("the lane was never free again")

    assert asyncio.run(leave()) == 0


def test_a_picked_sample_shows_its_own_way(explorer: Explorer) -> None:
    desk = Desk(explorer, Line())
    asyncio.run(all_of(desk, "ann", SHORT))
    shown = desk.picked("ann", 2)
    assert shown.strip is not None
    assert "From noise to seed 2" in shown.strip
    assert desk.picked("ann", 4) == desk.picked("bob", 0) == Shown()


def test_a_fault_is_told_and_the_lane_is_free_again(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **options: object) -> None:
        raise ValueError("seed 0 gave values that are <not> finite")

    monkeypatch.setattr(explorer, "draw", broken)
    desk = Desk(explorer, Line(lanes=1))
    shown = asyncio.run(all_of(desk, "ann", SHORT))
    assert shown[-1].said is not None
    assert "are &lt;not&gt; finite" in shown[-1].said
    assert desk.line.join("bob").at_work
