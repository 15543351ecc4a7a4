"""The door of the page: this machine alone, or a token; and what the command refuses before it begins."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from typing import Any

import pytest

from elucidiff.cli.main import main
from elucidiff.web.serving import Door, address, opened, token_for

TOKEN = "a-long-token"


async def _inside(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"in"})


def ask(token: str | None, path: str = "/", query: str = "", **headers: str) -> tuple[int, dict[str, str]]:
    """The status and headers of an answer."""
    told: list[Any] = []

    async def send(message: Any) -> None:
        told.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    }
    asyncio.run(Door(_inside, token)(scope, receive, send))
    return told[0]["status"], {name.decode(): value.decode() for name, value in told[0]["headers"]}


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "localhost"])
def test_without_a_token_this_machine_is_answered_by_name(host: str) -> None:
    status, headers = ask(None, host=host)
    assert status == 200
    assert "connect-src 'self'" in headers["content-security-policy"]


@pytest.mark.parametrize("host", ["evil.example:7860", "127.0.0.1.evil.example", ""])
def test_another_sites_name_for_this_machine_is_refused(host: str) -> None:
    assert ask(None, host=host)[0] == 403


def test_a_token_is_taken_from_the_address_once_and_then_from_the_cookie() -> None:
    status, headers = ask(TOKEN, "/", f"token={TOKEN}&__theme=dark", host="gpu.example")
    assert (status, headers["location"]) == (303, "/?__theme=dark")
    assert "HttpOnly" in headers["set-cookie"]
    assert "SameSite=Strict" in headers["set-cookie"]
    cookie = headers["set-cookie"].partition(";")[0]
    assert ask(TOKEN, host="gpu.example", cookie=f"other=1; {cookie}")[0] == 200
    assert ask(TOKEN, host="gpu.example", authorization=f"Bearer {TOKEN}")[0] == 200


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"query": "token=a-long-toke"},
        {"query": "token="},
        {"cookie": "elucidiff_token=a-long-tokem"},
        {"cookie": "elucidiff_token=\u00e9"},
        {"authorization": "Basic a-long-token"},
        {"host": "127.0.0.1"},
    ],
)
def test_without_the_right_token_nobody_comes_in(given: dict[str, str]) -> None:
    assert ask(TOKEN, **given)[0] == 401


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    ask(TOKEN, authorization="Bearer wrong")
    assert (b"wrong", TOKEN.encode()) in compared


def test_elsewhere_than_on_this_machine_there_is_always_a_token() -> None:
    assert token_for("127.0.0.1", None) is None
    assert token_for("localhost", TOKEN) == TOKEN
    first, second = token_for("0.0.0.0", None), token_for("0.0.0.0", None)
    assert first is not None
    assert len(first) == 32
    assert first != second
    with pytest.raises(ValueError, match="at least 8"):
        token_for("0.0.0.0", "short")
    with pytest.raises(ValueError, match="letters"):
        token_for("0.0.0.0", "with a space")


def test_the_first_free_port_is_taken_and_a_taken_one_refused() -> None:
    with opened("127.0.0.1", None) as first, opened("127.0.0.1", None) as second:
        one, other = first.getsockname()[1], second.getsockname()[1]
        assert one < other
        assert address(first, None) == f"http://127.0.0.1:{one}/"
        assert address(first, TOKEN) == f"http://127.0.0.1:{one}/?token={TOKEN}"
        with pytest.raises(ValueError, match=f"port {one}"):
            opened("127.0.0.1", one)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "there is no model folder or file nowhere"),
        (["--threads", "0"], "--threads is 0"),
        (["--port", "70000"], "--port is 70000"),
        (["--host", "0.0.0.0", "--token", "x"], "--token must be at least 8"),
        (["--hots", "x"], "did you mean --host"),
    ],
)
def test_mistakes_are_told_in_one_line_before_anything_begins(
    capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert main(["explore", *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1


def test_without_gradio_one_line_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "elucidiff.web.page", raising=False)
    monkeypatch.delitem(sys.modules, "elucidiff.web.panel", raising=False)
    assert main(["explore"]) == 2
    assert "pip install 'elucidiff[explore]'" in capsys.readouterr().err


def test_nothing_imports_gradio_but_the_page() -> None:
    code = (
        "import sys, elucidiff.cli.explore, elucidiff.web.handling\n"
        "raise SystemExit(any(name.partition('.')[0] in ('gradio', 'fastapi', 'uvicorn') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_name_that_cannot_be_served_is_told() -> None:
    with pytest.raises(ValueError, match=r"cannot serve at 203\.0\.113\.7"):
        opened("203.0.113.7", None)
    assert socket.gethostname() in address_of_all()


def address_of_all() -> str:
    with opened("0.0.0.0", 0) as listening:
        return address(listening, None)
