"""Mail servers of others as next hops, each as small as it can be: inside a room of its own (tests/e2e/namespace.py), as root.

All offer STARTTLS where they can, take messages up to L{LIMIT} octets, and answer 451 to recipients C{grey@} until C{accept()} is called.
What they were told is read from their own logs.
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.e2e.recorder import Recorder
from tests.e2e.servers import POSTFIX_MAIN, POSTFIX_MASTER
from tests.e2e.support import environment, waitFor

LIMIT = 200_000
BESIDE = Path("/var/cache/pysmtpd-tests")
# Users that must exist in the room.
USERS = ("opensmtpd", "opensmtpq", "Debian-exim", "store")


@contextmanager
def process(log: Path, where: tuple[str, int], *command: str, **more: str) -> Iterator[None]:
    """Run it in the foreground from when it takes connections on there, and end it."""
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env=environment(**more),
            start_new_session=True,
        )

    def listens() -> bool:
        assert server.poll() is None, f"{command[0]} ended: {log.read_text()}"
        with socket.socket() as probe:
            return probe.connect_ex(where) == 0

    try:
        waitFor(command[0], listens)
        yield
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


class Host:
    """
    @cvar name: also the first label of its domain.
    @cvar url: of the relay that leads to it.
    @cvar heardIn: finds the commands in its log.
    """

    name = ""
    url = 'relay host "smtp://{address}:{port}"'
    heardIn = re.compile(r"HEARD (.*)")

    def __init__(self, place: Path, address: str, port: int) -> None:
        """
        @param address: its own: what we know of a host is known by its address.
        @param place: has C{cert.pem} and C{key.pem}.
        """
        self.address = address
        self.port = port
        self.place = place
        self.own = place / self.name
        self.own.mkdir()
        self.own.chmod(0o755)
        self.log = self.own / "log"
        self.known = self.own / "known"
        self.recorder: Recorder | None = None

    def start(self, stack: ExitStack) -> None:
        raise NotImplementedError

    def accept(self) -> None:
        """From now on nobody is grey."""
        self.known.touch()

    def text(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def heard(self, recipient: str) -> list[str]:
        """The commands of the last transaction with this recipient, from MAIL on."""
        found: list[str] = []
        current: list[str] = []
        for command in self.heardIn.findall(self.text()):
            words = command.strip()
            if words.upper().startswith("MAIL"):
                current = []
            current.append(words)
            if words.upper().startswith("RCPT") and f"<{recipient}>" in words:
                found = current
        return found

    def contents(self, recipient: str) -> list[bytes]:
        """All messages for this recipient, with CRLF."""
        if self.recorder is not None:
            return [each.content for each in self.recorder.messages if recipient in each.recipients]
        return [path.read_bytes() for path in sorted(self.own.glob("mail/*")) if path.name.startswith(recipient)]

    def _relay(self, stack: ExitStack) -> int:
        """What it takes goes on to a recorder."""
        self.recorder = Recorder()
        stack.callback(self.recorder.close)
        return self.recorder.port

    def _write(self, name: str, text: str, **values: object) -> Path:
        words = {
            "place": self.place,
            "own": self.own,
            "address": self.address,
            "port": self.port,
            "limit": LIMIT,
            "known": self.known,
            **values,
        }
        for word, value in words.items():
            text = text.replace(f"@{word.upper()}@", str(value))
        path = self.own / name
        path.write_text(text)
        return path


class Postfix(Host):
    name = "postfix"
    heardIn = re.compile(r"smtpd\[\d+\]: < \S+: (.*)")

    def start(self, stack: ExitStack) -> None:
        for name in ("queue", "data", "etc"):
            (self.own / name).mkdir()
        shutil.chown(self.own / "data", "postfix")
        policy = stack.enter_context(_greyPolicy(self.known))
        main = POSTFIX_MAIN.format(place=self.own, certificates=self.place, next=self._relay(stack))
        main += f"message_size_limit = {LIMIT}\nsmtputf8_enable = yes\ndebug_peer_list =\n"
        main += f"smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:{policy}\n"
        self._write("etc/main.cf", main)
        self._write(
            "etc/master.cf",
            POSTFIX_MASTER.format(address=self.address, port=self.port).replace("- - smtpd", "- - smtpd -v"),
        )
        stack.enter_context(
            process(self.log, (self.address, self.port), "postfix", "-c", str(self.own / "etc"), "start-fg")
        )


class Exim(Host):
    name = "exim"
    program = BESIDE / "exim4-daemon-light/usr/sbin/exim4"

    def start(self, stack: ExitStack) -> None:
        for name in ("spool", "log"):
            (self.own / name).mkdir()
            shutil.chown(self.own / name, "Debian-exim", "Debian-exim")
        for name in ("cert.pem", "key.pem"):
            shutil.copy(self.place / name, self.own)
            shutil.chown(self.own / name, "Debian-exim")
        self.log = self.own / "log" / "mainlog"
        path = self._write("exim.conf", _EXIM, program=self.program, next=self._relay(stack))
        stack.enter_context(
            process(self.own / "output", (self.address, self.port), str(self.program), "-C", str(path), "-bdf", "-q1h")
        )

    def heard(self, recipient: str) -> list[str]:
        found = super().heard(recipient)
        # Its letter for CHUNKING, in the line of a message that came; the commands themselves reach no log.
        taken = [line for line in self.text().splitlines() if " <= " in line and f"for {recipient}" in line]
        return [*found, "BDAT"] if taken and " K " in taken[-1] else found


class OpenSmtpd(Host):
    name = "opensmtpd"
    heardIn = re.compile(r"smtp: \S+ <<< (.*)")

    def start(self, stack: ExitStack) -> None:
        Path("/var/lib/opensmtpd/empty").mkdir(parents=True, exist_ok=True)
        script = self._write("grey.sh", _GREY_FILTER)
        shutil.copy(self.place / "key.pem", self.own)
        (self.own / "key.pem").chmod(0o600)
        path = self._write("smtpd.conf", _OPENSMTPD, script=script, next=self._relay(stack))
        program = BESIDE / "opensmtpd/usr/sbin/smtpd"
        stack.enter_context(
            process(self.log, (self.address, self.port), str(program), "-d", "-T", "smtp", "-f", str(path))
        )


class Dovecot(Host):
    name = "dovecot"
    url = 'lmtp "{address}:{port}" rcpt-to virtual {{ "@" = "@USER@" }}'

    def start(self, stack: ExitStack) -> None:
        (self.own / "mail").mkdir()
        (self.own / "raw").mkdir()
        (self.own / "mail" / "grey").mkdir(mode=0o700)
        for path in (self.own / "mail", self.own / "raw"):
            shutil.chown(path, "store", "store")
        (self.own / "raw").chmod(0o777)
        path = self._write("dovecot.conf", _DOVECOT)
        stack.enter_context(process(self.own / "output", (self.address, self.port), "dovecot", "-F", "-c", str(path)))

    def accept(self) -> None:
        shutil.chown(self.own / "mail" / "grey", "store", "store")

    def text(self) -> str:
        lines = []
        for path in sorted(self.own.glob("raw/*.in"), key=lambda path: path.stat().st_mtime):
            lines += [f"HEARD {line}" for line in path.read_text("utf-8", "replace").splitlines()]
        return "\n".join(re.sub(r"HEARD \d+\.\d+ ", "HEARD ", line) for line in lines)

    def contents(self, recipient: str) -> list[bytes]:
        local = recipient.partition("@")[0]
        found = [path.read_bytes() for path in sorted(self.own.glob(f"mail/{local}/new/*"))]
        return [content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for content in found]


class Aiosmtpd(Host):
    name = "aiosmtpd"

    def start(self, stack: ExitStack) -> None:
        (self.own / "mail").mkdir()
        script = self._write("server.py", _AIOSMTPD)
        stack.enter_context(
            process(
                self.log,
                (self.address, self.port),
                sys.executable,
                str(script),
                PYTHONPATH=str(BESIDE / "aiosmtpd"),
                PYTHONUNBUFFERED="1",
            )
        )


class SmtpServer(Host):
    """Nodemailer's."""

    name = "smtp-server"

    def start(self, stack: ExitStack) -> None:
        (self.own / "mail").mkdir()
        script = self._write("server.cjs", _SMTP_SERVER, modules=BESIDE / "smtp-server/node_modules")
        stack.enter_context(process(self.log, (self.address, self.port), "node", str(script)))


HOSTS: Sequence[type[Host]] = (Postfix, Exim, OpenSmtpd, Dovecot, Aiosmtpd, SmtpServer)


@contextmanager
def _greyPolicy(known: Path) -> Iterator[int]:
    """Postfix asks it about each recipient.

    @return: its port.
    """
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection, connection.makefile("rw") as file:
            asked: dict[str, str] = {}
            for line in file:
                name, _, value = line.rstrip("\n").partition("=")
                if name:
                    asked[name] = value
                    continue
                isGrey = asked.get("recipient", "").startswith("grey@") and not known.exists()
                file.write("action=451 4.7.1 Greylisted\n\n" if isGrey else "action=permit\n\n")
                file.flush()
                asked.clear()

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


_EXIM = r"""
exim_path = @PROGRAM@
primary_hostname = exim.test
spool_directory = @OWN@/spool
log_file_path = @OWN@/log/%slog
pid_file_path = @OWN@/exim.pid
local_interfaces = @ADDRESS@
daemon_smtp_ports = @PORT@
disable_ipv6 = true
keep_environment =
print_topbitchars = true
host_lookup =
log_selector = +received_recipients +8bitmime
message_size_limit = @LIMIT@
tls_advertise_hosts = *
tls_certificate = @OWN@/cert.pem
tls_privatekey = @OWN@/key.pem
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
acl_smtp_mail = mail
acl_smtp_rcpt = rcpt
begin acl
mail:
  accept logwrite = HEARD $smtp_command
rcpt:
  warn logwrite = HEARD $smtp_command
  defer message = 4.7.1 Greylisted
    condition = ${if and{{eq{$local_part}{grey}}{!exists{@KNOWN@}}}}
  accept
begin routers
all:
  driver = manualroute
  transport = out
  route_list = * 127.0.0.1 byname
  self = send
begin transports
out:
  driver = smtp
  allow_localhost
  port = @NEXT@
  hosts_avoid_tls = *
"""

_OPENSMTPD = """
smtp max-message-size @LIMIT@
pki opensmtpd.test cert "@PLACE@/cert.pem"
pki opensmtpd.test key "@OWN@/key.pem"
filter grey proc-exec "/bin/sh @SCRIPT@"
listen on @ADDRESS@ port @PORT@ tls pki opensmtpd.test filter grey
action "out" relay host "smtp://127.0.0.1:@NEXT@"
match from any for any action "out"
"""

_GREY_FILTER = r"""
while IFS='|' read -r kind second third fourth phase session token address; do
    case $kind$second in
    configready) printf 'register|filter|smtp-in|rcpt-to\nregister|ready\n' ;;
    filter*)
        result=proceed
        case $address in grey@*) [ -e @KNOWN@ ] || result='reject|451 4.7.1 Greylisted' ;; esac
        printf 'filter-result|%s|%s|%s\n' "$session" "$token" "$result" ;;
    esac
done
"""

_DOVECOT = """
base_dir = @OWN@/run
state_dir = @OWN@/state
protocols = lmtp
log_path = @OWN@/log
ssl = yes
ssl_cert = <@PLACE@/cert.pem
ssl_key = <@PLACE@/key.pem
mail_location = maildir:@OWN@/mail/%n
first_valid_uid = 1
default_vsz_limit = 0
lmtp_save_to_detail_mailbox = no
auth_username_chars =
service lmtp {
  inet_listener lmtp {
    address = @ADDRESS@
    port = @PORT@
  }
}
protocol lmtp {
  lmtp_rawlog_dir = @OWN@/raw
  postmaster_address = postmaster@dovecot.test
}
passdb {
  driver = static
  args = nopassword=yes
}
userdb {
  driver = static
  args = uid=store gid=store home=@OWN@/mail/%n allow_all_users=yes
}
"""

_AIOSMTPD = '''
import asyncio, logging, os, ssl

from aiosmtpd.smtp import SMTP


class Lines(logging.Handler):
    """Its own log has the commands as they came."""

    def emit(self, record):
        if ">>" in record.getMessage():
            print("HEARD", record.args[1].decode("utf-8", "replace"), flush=True)


class Handler:
    number = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("grey@") and not os.path.exists("@KNOWN@"):
            return "451 4.7.1 Greylisted"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.number += 1
        for recipient in envelope.rcpt_tos:
            with open(f"@OWN@/mail/{recipient}-{self.number}", "wb") as file:
                file.write(envelope.original_content)
        return "250 taken"


async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain("@PLACE@/cert.pem", "@PLACE@/key.pem")
    logger = logging.getLogger("mail.log")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(Lines())
    handler = Handler()
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(handler, tls_context=context, data_size_limit=@LIMIT@, enable_SMTPUTF8=True, hostname="aiosmtpd.test"),
        "@ADDRESS@",
        @PORT@,
    )
    await server.serve_forever()


asyncio.run(main())
'''

_SMTP_SERVER = r"""
const { SMTPServer } = require('@MODULES@/smtp-server')
const fs = require('fs')
let number = 0
const quiet = () => {}
const logger = { info: quiet, warn: quiet, error: quiet, trace: quiet, fatal: quiet,
  debug: (entry, ...rest) => { if (entry.tnx === 'command') console.log('HEARD ' + rest[rest.length - 1]) } }
new SMTPServer({
  name: 'smtp-server.test', size: @LIMIT@, authOptional: true, disableReverseLookup: true, hideDSN: false, logger,
  key: fs.readFileSync('@PLACE@/key.pem'), cert: fs.readFileSync('@PLACE@/cert.pem'),
  onRcptTo(address, session, callback) {
    if (!address.address.startsWith('grey@') || fs.existsSync('@KNOWN@')) return callback()
    callback(Object.assign(new Error('4.7.1 Greylisted'), { responseCode: 451 }))
  },
  onData(stream, session, callback) {
    const chunks = []
    stream.on('data', (chunk) => chunks.push(chunk))
    stream.on('end', () => {
      if (stream.sizeExceeded) return callback(Object.assign(new Error('too large'), { responseCode: 552 }))
      number += 1
      for (const each of session.envelope.rcptTo) fs.writeFileSync(`@OWN@/mail/${each.address}-${number}`, Buffer.concat(chunks))
      callback()
    })
  }
}).listen(@PORT@, '@ADDRESS@')
"""
