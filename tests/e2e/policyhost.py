"""A web server for the MTA-STS policies of many domains: who is asked for is told by SNI, what it answers by the test."""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PATH = "/.well-known/mta-sts.txt"


@dataclass(frozen=True)
class Answer:
    """
    @ivar location: where it redirects to, with status 301.
    """

    content: str
    type: str = "text/plain"
    status: int = 200
    location: str = ""


class PolicyHost:
    """
    @ivar answers: by host name; change them at any time. Others get 404.
    @ivar asked: host names, in order.
    """

    def __init__(self, address: str) -> None:
        """On port 443 there. A name without a certificate fails in the handshake."""
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self._contexts: dict[str, ssl.SSLContext] = {}
        base = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        base.sni_callback = self._choose
        self._server = _Server((address, 443), base, self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def certify(self, name: str, pem: Path) -> None:
        """
        @param pem: certificates and key to show to those who ask for C{name}.
        """
        self._contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._contexts[name].load_cert_chain(pem)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:
        found = self._contexts.get(name or "")
        if found is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = found
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, host: PolicyHost) -> None:
        self.host = host
        self._context = context
        super().__init__(address, _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        # In the thread of the connection: a handshake that hangs holds nobody up.
        request.settimeout(10)
        try:
            with self._context.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)
        except OSError:
            # The client did not like the certificate, or has left.
            return


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        name = self.headers.get("Host", "")
        self.server.host.asked.append(name)
        answer = self.server.host.answers.get(name) if self.path == PATH else None
        if answer is None:
            self.send_error(404)
            return
        content = answer.content.encode()
        self.send_response(301 if answer.location else answer.status)
        if answer.location:
            self.send_header("Location", answer.location)
        self.send_header("Content-Type", answer.type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """The test says what matters."""
