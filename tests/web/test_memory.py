"""Memory stays flat over 200 requests, half of them stopped or wrong."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# In a process of its own, with one pool of memory for all threads: what other tests left would hide what is held.
SCRIPT = """
import asyncio
import gc

import psutil

import elucidiff as ed
from elucidiff.web.engine import Explorer
from elucidiff.web.handling import Desk
from elucidiff.web.line import Line
from elucidiff.web.request import Request

desk = Desk(Explorer(), Line())
counts = {"done": 0, "stopped": 0, "wrong": 0}


async def one(number):
    who = f"browser {number % 7}"
    kind = ("done", "stopped", "done", "wrong")[number % 4]
    steps = 400 if kind == "stopped" else 18
    seeds = "0-999" if kind == "wrong" else f"{number}-{number + 15}"
    last = None
    async for shown in desk.serve(who, [("A", Request(ed.Sampler(n=steps), seeds))], compare=True):
        last = shown
        if kind == "stopped" and shown.sides is not None:
            desk.stop(who)
    counts[kind] += {"done": "Done", "stopped": "Stopped", "wrong": "at most 64"}[kind] in last.said
    if number % 7 == 6:
        desk.left(who)


async def several(numbers):
    for number in numbers:
        await one(number)


def held(numbers):
    asyncio.run(several(numbers))
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


before = held(range(40))  # imports, fonts, pools of memory
print(held(range(40, 240)) - before, counts["done"], counts["stopped"], counts["wrong"])
"""


@pytest.mark.slow
def test_memory_stays_flat_over_200_requests_half_of_them_stopped_or_wrong() -> None:
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600, env=environment)
    growth, *counts = done.stdout.split()
    assert counts == ["120", "60", "60"]
    assert float(growth) < 30  # MiB
