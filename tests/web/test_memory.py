"""Memory stays flat over 200 requests, half of them stopped or wrong."""

from __future__ import annotations

import asyncio
import gc

import psutil
import pytest

import elucidiff as ed
from elucidiff.web.engine import Explorer
from elucidiff.web.handling import Desk
from elucidiff.web.line import Line
from elucidiff.web.request import MistakesError, Request

MEBIBYTE = 2**20


@pytest.mark.slow
def test_memory_stays_flat_over_200_requests_half_of_them_stopped_or_wrong() -> None:
    explorer = Explorer()
    desk = Desk(explorer, Line())
    counts = {"done": 0, "stopped": 0, "wrong": 0}

    async def one(number: int) -> None:
        who = f"browser {number % 7}"
        kind = ("done", "stopped", "done", "wrong")[number % 4]
        steps = 400 if kind == "stopped" else 18
        seeds = "0-999" if kind == "wrong" else f"{number}-{number + 15}"
        request = Request(ed.Sampler(n=steps), seeds)
        serving = desk.serve(who, [("A", request)], compare=True)
        last = None
        async for shown in serving:
            last = shown
            if kind == "stopped" and shown.sides is not None:
                desk.stop(who)
        assert last is not None
        assert last.said is not None
        counts[kind] += {"done": "Done", "stopped": "Stopped", "wrong": "at most 64"}[kind] in last.said
        if number % 7 == 6:
            desk.left(who)

    def rounds(numbers: range) -> int:
        async def every() -> None:
            for number in numbers:
                await one(number)

        asyncio.run(every())
        gc.collect()
        return int(psutil.Process().memory_info().rss)

    before = rounds(range(40))  # imports, fonts, pools of memory
    after = rounds(range(40, 240))
    assert counts == {"done": 120, "stopped": 60, "wrong": 60}
    assert (after - before) / MEBIBYTE < 30
    with pytest.raises(MistakesError):
        explorer.draw(Request(ed.Sampler(), "0-999"))
