"""A recording sink: the simplest SMTP server that takes everything, one command at a time, and keeps the content as it came."""

from __future__ import annotations

import socketserver
import threading


class _Session(socketserver.StreamRequestHandler):
    timeout = 30

    def handle(self) -> None:
        self._say("220 recorder.test ESMTP")
        while line := self.rfile.readline():
            verb = line.strip().upper()
            if verb.startswith(b"EHLO"):
                self._say("250-recorder.test\r\n250-8BITMIME\r\n250-PIPELINING\r\n250 SMTPUTF8")
            elif verb == b"DATA":
                self._say("354 go on")
                self._record()
                self._say("250 recorded")
            elif verb == b"QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def _say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")

    def _record(self) -> None:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line[1:] if line.startswith(b".") else line)
        recorder = self.server
        assert isinstance(recorder, Recorder)
        recorder.messages.append(b"".join(lines))


class Recorder(socketserver.ThreadingTCPServer):
    """Listens on a free port of 127.0.0.1; C{messages} holds what came, dot-unstuffed."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.messages: list[bytes] = []
        self.port: int = self.server_address[1]
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()
