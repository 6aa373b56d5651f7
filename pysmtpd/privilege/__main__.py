"""The root helper's program: C{python -m pysmtpd.privilege DESCRIPTOR}. It puts together the helper and what its children do."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, cast

from pysmtpd.mda.host import DeliveryHost
from pysmtpd.platform.commands import Commands
from pysmtpd.platform.files import RealFiles
from pysmtpd.platform.trusted import readTrusted
from pysmtpd.privilege.helper import run

if TYPE_CHECKING:
    from pysmtpd.interfaces import IDisk, IProcesses


def serve(connection: socket.socket, home: str) -> None:
    """What a child does once it is its user."""
    DeliveryHost(connection, cast("IDisk", RealFiles()), cast("IProcesses", Commands()), home).run()


def main(descriptor: int) -> None:
    """
    @param descriptor: of the socket that the daemon asks by.
    """
    run(socket.socket(fileno=descriptor), serve, readTrusted)


if __name__ == "__main__":
    main(int(sys.argv[1]))
