"""The page's server: the standard library's, for one person at a time who knows the secret in the address."""

from __future__ import annotations

import hmac
import json
import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

from lotj.errors import LotjError, SettingsError
from lotj.robots.wire import encryption

_log = logging.getLogger(__name__)

LARGEST = 4096
"""Bytes of a message."""

PATIENCE_S = 20.0
"""A connection on which nothing is said for so long is closed [s]."""

FILES = {
    "": ("lotj.page", "page.html", "text/html"),
    "page.js": ("lotj.page", "page.js", "text/javascript"),
    "page.css": ("lotj.page", "page.css", "text/css"),
    "style.css": ("lotj.report", "templates/style.css", "text/css"),
}

HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address is the secret
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


class PageServer:
    """Serves at `address` until it is closed; whoever does not know the secret in it gets 403, and nothing happens.

    Args:
        answers: what can be looked at, name -> function of the rest of the address that gives JSON values.
        told: does what a message, a JSON object, says, and gives JSON values. Both may raise `LotjError`: 400.
        host, port, certificate, key: where, and files in PEM for TLS; as of `lotj.robots.server.RobotServer`.

    Raises:
        SettingsError: another host without TLS, files that are no certificate, a port in use.
    """

    def __init__(
        self,
        answers: Mapping[str, Callable[[str], Any]],
        told: Callable[[Mapping[str, Any]], Any],
        host: str = "127.0.0.1",
        port: int = 0,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self.answers, self.told, self.token = answers, told, secrets.token_urlsafe(24)
        context = encryption(host, certificate, key)
        try:
            self._server = _Server((host, port), _Handler)
        except OSError as error:
            raise SettingsError(f"{host}:{port}: cannot listen there ({error.strerror}); choose another port") from None
        self._server.page = self
        if context is not None:  # each connection's own thread shakes hands
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        host, port = self._server.server_address[:2]  # type: ignore[misc]
        self.address = f"{'https' if context else 'http'}://{host}:{port}/{self.token}/"
        threading.Thread(target=self._server.serve_forever, args=[0.1], name="page", daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    page: PageServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever hangs up is no error."""
        _log.info("a connection has failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE_S
    server: _Server

    def do_GET(self) -> None:
        if (name := self._admitted()) is None:
            return
        name, _, rest = name.partition("/")
        if name in FILES and not rest:
            package, file, kind = FILES[name]
            return self._send(HTTPStatus.OK, resources.files(package).joinpath(file).read_bytes(), kind)
        if name not in self.server.page.answers:
            return self._answer(HTTPStatus.NOT_FOUND, {"why": "no such page"})
        self._try(self.server.page.answers[name], rest)

    def do_POST(self) -> None:
        if (name := self._admitted()) is None:
            return
        length, kind = self.headers.get("Content-Length", ""), self.headers.get_content_type()
        if name != "do" or kind != "application/json" or not length.isdecimal() or int(length[:9]) > LARGEST:
            self.close_connection = True  # what follows is not read
            return self._answer(HTTPStatus.BAD_REQUEST, {"why": f"must be JSON of at most {LARGEST} bytes"})
        try:
            message = json.loads(self.rfile.read(int(length[:9])))
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            return self._answer(HTTPStatus.BAD_REQUEST, {"why": "must be a JSON object; nothing is done"})
        self._try(self.server.page.told, message)

    def _admitted(self) -> str | None:
        """The rest of the address behind the secret; None, answered, where that is another."""
        token, _, rest = self.path.removeprefix("/").partition("/")
        if hmac.compare_digest(token.encode("utf-8", "replace"), self.server.page.token.encode()):
            return rest
        self.close_connection = True
        self._answer(HTTPStatus.FORBIDDEN, {"why": "the whole address is needed, as `lotj practice --page` shows it"})
        return None

    def _try(self, does: Callable[[Any], Any], what: Any) -> None:
        try:
            self._answer(HTTPStatus.OK, does(what))
        except LotjError as error:
            self._answer(HTTPStatus.BAD_REQUEST, {"why": str(error)})

    def _answer(self, status: HTTPStatus, values: Any) -> None:
        self._send(status, json.dumps(values, allow_nan=False).encode(), "application/json")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def version_string(self) -> str:
        return "lotj"

    def log_message(self, format: str, *args: Any) -> None:
        """Addresses hold the secret."""
