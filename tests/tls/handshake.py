"""Two ends of OpenSSL that talk in memory."""

from __future__ import annotations

from OpenSSL import SSL


def shake(client: SSL.Connection, server: SSL.Connection) -> None:
    """
    @raise SSL.Error: the handshake failed, at either end.
    """
    client.set_connect_state()
    server.set_accept_state()
    done = {client: False, server: False}
    for _ in range(10):
        for here, there in ((client, server), (server, client)):
            if not done[here]:
                try:
                    here.do_handshake()
                    done[here] = True
                except SSL.WantReadError:
                    pass
            move(here, there)
        if all(done.values()):
            move(server, client)
            return
    raise AssertionError("the handshake does not end")


def move(here: SSL.Connection, there: SSL.Connection) -> None:
    while True:
        try:
            there.bio_write(here.bio_read(65536))
        except SSL.WantReadError:
            return
