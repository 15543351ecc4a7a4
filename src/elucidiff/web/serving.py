"""The page on a port: this machine alone, or others with a token; nothing is fetched from anywhere else."""

from __future__ import annotations

import errno
import hmac
import os
import secrets
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

if TYPE_CHECKING:
    from elucidiff.web.page import Page

LOOPBACK = ("127.0.0.1", "localhost", "::1")
FIRST_PORT, _TRIED = 7860, 100
COOKIE = "elucidiff_token"
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' data: blob:; frame-ancestors 'none'; form-action 'self'"
)


@dataclass(frozen=True)
class Door:
    """Who may come in, as ASGI middleware around an application.

    Without a token only requests that name this machine are answered, so that no other site can have a browser read
    the page under a name of its own. With one, every request has to bring it: once in the address, from then on in a
    cookie.

    Args:
        app: the application.
        token: the token; None for none.
    """

    app: Any
    token: str | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self.token is None:
            if _host(headers.get("host", "")) not in LOOPBACK:
                await _answer(send, 403, "This page answers to 127.0.0.1 and localhost alone.")
                return
            await self.app(scope, receive, _with_policy(send))
            return
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        offered = [value for name, value in query if name == "token"]
        if offered and scope["type"] == "http" and scope["method"] == "GET" and self._is(offered[0]):
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            place = scope["path"] + (f"?{rest}" if rest else "")
            cookie = f"{COOKIE}={self.token}; Path=/; HttpOnly; SameSite=Strict"
            await _answer(send, 303, "", {"location": place, "set-cookie": cookie})
            return
        if not any(map(self._is, [_cookie(headers.get("cookie", "")), _bearer(headers.get("authorization", ""))])):
            await _answer(send, 401, "This page needs its token: open it with /?token=... as its command printed it.")
            return
        await self.app(scope, receive, _with_policy(send))

    def _is(self, offered: str) -> bool:
        """In a time that does not depend on how much of it is right."""
        assert self.token is not None
        return hmac.compare_digest(offered.encode(), self.token.encode())


def token_for(host: str, token: str | None) -> str | None:
    """The token of a page at ``host``: the one given; elsewhere than on this machine a random one if none is.

    Raises:
        ValueError: it is too short to keep anybody out, or no text that an address can hold.

    >>> token_for("127.0.0.1", None), len(token_for("0.0.0.0", None))
    (None, 32)
    """
    if token is None:
        return None if host in LOOPBACK else secrets.token_urlsafe(24)
    if len(token) < 8 or not all(each.isascii() and (each.isalnum() or each in "-_.~") for each in token):
        raise ValueError("--token must be at least 8 letters, digits, or -_.~")
    return token


def opened(host: str, port: int | None) -> socket.socket:
    """A socket at ``host``, at ``port`` or at the first free one from 7860 on.

    Raises:
        ValueError: the port is taken, or there is no such host.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for tried in range(FIRST_PORT, FIRST_PORT + _TRIED) if port is None else (port,):
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((host, tried))
            made.listen(128)
        except (OSError, OverflowError) as error:
            made.close()
            if port is not None or getattr(error, "errno", None) != errno.EADDRINUSE:
                raise ValueError(
                    f"cannot serve at {host}, port {tried}: {getattr(error, 'strerror', error)}"
                ) from None
        else:
            return made
    raise ValueError(f"no port from {FIRST_PORT} to {FIRST_PORT + _TRIED - 1} is free: give one with --port")


def address(listening: socket.socket, token: str | None) -> str:
    """What to open in a browser."""
    host, port = listening.getsockname()[:2]
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(
        host, f"[{host}]" if ":" in host else host
    )
    return f"http://{shown}:{port}/" + ("" if token is None else f"?token={token}")


def serve(make: Callable[[], Page], listening: socket.socket, token: str | None, ready: Callable[[], object]) -> None:
    """Serve a page until somebody ends it.

    Args:
        make: makes the page, once Gradio knows where to keep what is uploaded.
        listening: where.
        token: who may come in.
        ready: called once it answers.
    """
    with tempfile.TemporaryDirectory(prefix="elucidiff-explore-") as folder:
        os.environ.update(
            GRADIO_ANALYTICS_ENABLED="False",
            GRADIO_TEMP_DIR=folder,
            HF_HUB_DISABLE_TELEMETRY="1",
            GRADIO_SSR_MODE="False",
        )
        page = make()  # which says so if Gradio, that brings the rest, is not there
        import uvicorn

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                ready()

        config = uvicorn.Config(
            application(page, token), log_level="warning", access_log=False, timeout_graceful_shutdown=2
        )
        Server(config).run(sockets=[listening])


def application(page: Page, token: str | None) -> Any:
    """The page as an ASGI application, behind its door."""
    import fastapi
    import gradio as gr

    from elucidiff.web.page import STYLE

    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app = gr.mount_gradio_app(
        app,
        page.blocks,
        path="/",
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        show_error=False,
        max_file_size="20mb",
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Base(radius_size="sm", spacing_size="sm", text_size="md", font=_fonts("IBM Plex Sans")),
        css_paths=STYLE,
    )
    return Door(app, token)


def _fonts(name: str) -> list[Any]:
    """A font that comes with Gradio (its semi-bold lacks letters), and what browsers have; none is fetched."""
    import gradio as gr

    return [gr.themes.utils.fonts.LocalFont(name, (400, 700)), "system-ui", "sans-serif"]


def _with_policy(send: Any) -> Any:
    """Have the browser refuse whatever would come from elsewhere."""

    async def told(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", [])]
            headers.append((b"content-security-policy", _POLICY.encode()))
            headers.append((b"referrer-policy", b"no-referrer"))
            headers.append((b"x-content-type-options", b"nosniff"))
            message = {**message, "headers": headers}
        await send(message)

    return told


async def _answer(send: Any, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    every = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store", **(headers or {})}
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in every.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": text.encode()})


def _host(header: str) -> str:
    """The name in a Host header, without its port."""
    return header[1:].partition("]")[0] if header.startswith("[") else header.partition(":")[0]


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _bearer(header: str) -> str:
    kind, _, value = header.partition(" ")
    return value.strip() if kind.lower() == "bearer" else ""
