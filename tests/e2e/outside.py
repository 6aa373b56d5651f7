"""What is beyond our machine, as a process in a network of its own: other mail hosts, and people who send.

It is asked by lines of JSON on its standard input, and answers each with one: a L{Letter} to send, or C{"taken"}: what the hosts took.
"""

from __future__ import annotations

import json
import smtplib
import socket
import ssl
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PATIENCE = 20.0

# The provider of those who send all through it, an MX of the rest of the world, and that of example.org.
PROVIDER, WORLD, PRIMARY = "203.0.113.25", "203.0.113.30", "203.0.113.40"
STRANGER = "203.0.113.10"
NEIGHBOUR = "192.0.2.77"
LOGIN = ("someone@example.com", "secret")


@dataclass
class Letter:
    """
    @ivar tls: C{"starttls"}, C{"implicit"} or nothing.
    @ivar name: the host name that is asked for in TLS; empty: none is.
    @ivar login: user and password.
    """

    peer: str
    sender: str
    recipients: list[str]
    to: str = "192.0.2.25"
    port: int = 25
    tls: str = ""
    name: str = ""
    login: list[str] = field(default_factory=list)
    subject: str = "hello"


@dataclass
class Answer:
    """
    @ivar said: the last reply: of the recipient if it was refused, else to the content; or why there was none.
    @ivar names: those of the host's certificate.
    """

    said: str
    names: list[str]

    @property
    def isAccepted(self) -> bool:
        return self.said.startswith("250")


def send(letter: Letter) -> Answer:
    """One session."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    names: list[str] = []
    try:
        plain = socket.create_connection((letter.to, letter.port), PATIENCE, (letter.peer, 0))
    except OSError as error:
        return Answer(f"{error.strerror or error}", [])
    client = smtplib.SMTP(timeout=PATIENCE, local_hostname="client.example.com")
    with plain:
        if letter.tls == "implicit":
            plain = context.wrap_socket(plain, server_hostname=letter.name or letter.to)
        client.sock = plain
        client._host = letter.name or letter.to  # type: ignore[attr-defined]
        try:
            code, said = client.getreply()
            if code == 220:
                client.ehlo()
                if letter.tls == "starttls":
                    client.starttls(context=context)
                    client.ehlo()
                if letter.tls:
                    names = _names(client.sock)
                if letter.login:
                    client.login(*letter.login)
                code, said = client.mail(letter.sender)
                for recipient in letter.recipients:
                    if code == 250:
                        code, said = client.rcpt(recipient)
                if code == 250:
                    content = f"From: {letter.sender or 'MAILER-DAEMON'}\r\nSubject: {letter.subject}\r\n\r\nHello.\r\n"
                    code, said = client.data(content)
                client.quit()
        except smtplib.SMTPResponseException as error:
            code, said = error.smtp_code, error.smtp_error if isinstance(error.smtp_error, bytes) else b""
        except smtplib.SMTPException as error:
            return Answer(repr(error), names)
    return Answer(f"{code} {said.decode('utf-8', 'replace')}", names)


def _names(connection: Any) -> list[str]:
    from cryptography import x509

    certificate = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True))
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return list(extension.value.get_values_for_type(x509.DNSName))


class Outside:
    """The hosts.

    @ivar taken: what they took, in order.
    """

    def __init__(self, certificates: Path) -> None:
        from aiosmtpd.controller import Controller  # type: ignore[import-not-found,unused-ignore]
        from aiosmtpd.smtp import SMTP, AuthResult  # type: ignore[import-not-found,unused-ignore]

        self.taken: list[dict[str, Any]] = []
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificates / "mail.example.com.pem", certificates / "private/mail.example.com.key")

        def login(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
            said = (data.login.decode(), data.password.decode())
            session.who = said[0]
            return AuthResult(success=said == LOGIN)

        class Host(Controller):  # type: ignore[misc,unused-ignore]
            """One that takes all, from whom has logged in where that is asked."""

            def __init__(inner, address: str, port: int, isImplicit: bool = False, asks: bool = False) -> None:
                super().__init__(self, hostname=address, port=port, ssl_context=context if isImplicit else None)
                inner.options = {
                    "tls_context": None if isImplicit else context,
                    "authenticator": login if asks else None,
                    "auth_required": asks,
                    "auth_require_tls": not isImplicit,
                    "hostname": "host.example.com",
                }

            def factory(inner) -> Any:
                return SMTP(self, **inner.options)

        self.hosts = [
            Host(PROVIDER, 465, isImplicit=True, asks=True),
            Host(PROVIDER, 587, asks=True),
            Host(WORLD, 25),
            Host(PRIMARY, 25),
        ]
        for host in self.hosts:
            host.start()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken.append(
            {
                "host": server.transport.get_extra_info("sockname")[0],
                "login": getattr(session, "who", ""),
                "sender": envelope.mail_from,
                "recipients": envelope.rcpt_tos,
                "content": envelope.content.decode("utf-8", "replace"),
            }
        )
        return "250 taken"


def main() -> None:
    outside = Outside(Path(sys.argv[1]))
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        answer = outside.taken if asked == "taken" else asdict(send(Letter(**asked)))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
