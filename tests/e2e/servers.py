"""Servers of others, each started for a test and ended with it."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.support import PATIENCE, environment, freePort, run, waitFor


@contextmanager
def _server(log: Path, port: int, *command: str) -> Iterator[None]:
    """Run it in the foreground from when it takes TCP connections on, and end it."""
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env=environment(), start_new_session=True)

    def listens() -> bool:
        if server.poll() is not None:
            raise AssertionError(f"{command[0]} ended: {log.read_text()}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        waitFor(command[0], listens)
        yield
    finally:
        server.terminate()
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def nameServer(place: Path, lines: Sequence[str]) -> Iterator[int]:
    """dnsmasq, which answers for C{test} from its configuration alone and asks nobody.

    @param lines: of its configuration.
    @return: its port on 127.0.0.1.
    """
    port = freePort()
    who = [] if os.geteuid() else ["user=nobody"]
    usual = [
        f"port={port}",
        "listen-address=127.0.0.1",
        "bind-interfaces",
        "no-resolv",
        "no-hosts",
        "local=/test/",
        "pid-file=",
    ]
    path = place / "dnsmasq.conf"
    path.write_text("\n".join((*usual, *who, *lines, "")))
    with _server(
        place / "dnsmasq.log", port, "dnsmasq", "--keep-in-foreground", f"--conf-file={path}", "--log-facility=-"
    ):
        yield port


@contextmanager
def muteSocket() -> Iterator[int]:
    """A UDP port on 127.0.0.1 that takes everything and says nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        yield mute.getsockname()[1]


_DOVECOT = """
base_dir = {place}/run
state_dir = {place}/state
log_path = {place}/dovecot.log
protocols = lmtp
ssl = no
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
first_valid_uid = 1
mail_location = maildir:~/Maildir
mail_plugins = quota
lmtp_hdr_delivery_address = none
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = passwd-file
  args = username_format=%n {place}/users
}}
plugin {{
  quota = count:User quota
  quota_vsizes = yes
  quota_grace = 0
}}
service lmtp {{
  unix_listener {place}/lmtp {{
    mode = 0666
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""


@contextmanager
def dovecot(place: Path, users: Mapping[str, str]) -> Iterator[Path]:
    """Dovecot's LMTP server. Needs root.

    @param users: by name, with a quota rule for each; empty: none. All mail is in C{home} there, by the user's name.
    @return: its UNIX socket. Its log is C{dovecot.log}.
    """
    nobody = pwd.getpwnam("nobody")
    (place / "home").mkdir()
    shutil.chown(place / "home", "nobody")
    place.chmod(0o755)
    lines = [
        f"{name}::{nobody.pw_uid}:{nobody.pw_gid}::{place}/home/{name}::{rule and 'userdb_quota_rule=' + rule}"
        for name, rule in users.items()
    ]
    (place / "users").write_text("\n".join((*lines, "")))
    (place / "dovecot.conf").write_text(_DOVECOT.format(place=place))
    path = place / "lmtp"
    with (place / "output").open("wb") as output:
        server = subprocess.Popen(
            ["dovecot", "-F", "-c", str(place / "dovecot.conf")], stdout=output, stderr=output, env=environment()
        )

    def listens() -> bool:
        if server.poll() is not None:
            raise AssertionError(f"dovecot ended: {(place / 'output').read_text()}")
        return path.exists()

    try:
        waitFor("dovecot", listens)
        yield path
    finally:
        server.terminate()
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


POSTFIX_MAIN = """
compatibility_level = 3.6
queue_directory = {place}/queue
data_directory = {place}/data
maillog_file = /dev/stdout
myhostname = postfix.test
mydestination =
local_recipient_maps =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificates}/cert.pem
smtpd_tls_key_file = {certificates}/key.pem
smtpd_tls_received_header = yes
smtp_tls_security_level = none
default_transport = smtp:[127.0.0.1]:{next}
"""

POSTFIX_MASTER = """
{address}:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@contextmanager
def postfix(place: Path, certificates: Path, next: int) -> Iterator[int]:
    """A Postfix with a spool of its own. Needs root.

    @param certificates: where C{cert.pem} and C{key.pem} are; it offers STARTTLS with them.
    @param next: the port on 127.0.0.1 to which it relays all that it takes.
    @return: its port on 127.0.0.1.
    """
    port = freePort()
    for name in ("queue", "data", "etc"):
        (place / name).mkdir(parents=True)
    shutil.chown(place / "data", "postfix")
    (place / "etc" / "main.cf").write_text(POSTFIX_MAIN.format(place=place, certificates=certificates, next=next))
    (place / "etc" / "master.cf").write_text(POSTFIX_MASTER.format(address="127.0.0.1", port=port))
    configuration = str(place / "etc")
    with _server(place / "postfix.log", port, "postfix", "-c", configuration, "start-fg"):
        try:
            yield port
        finally:
            # The master is in a session of its own: a signal to who started it does not always reach it.
            run("postfix", "-c", configuration, "stop", isOk=False)


_NAMED = """
options {{
  directory "{place}";
  listen-on port {port} {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
  recursion no;
  pid-file "{place}/named.pid";
  session-keyfile "{place}/session.key";
}};
controls {{ }};
"""
_UNBOUND = """
server:
  directory: ""
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  interface: 127.0.0.1
  port: {port}
  do-ip6: no
  do-not-query-localhost: no
  module-config: "validator iterator"
  local-zone: "test." nodefault
  trust-anchor-file: "{place}/anchors"
remote-control:
  control-enable: no
"""


@contextmanager
def bind(place: Path, zones: Sequence[str]) -> Iterator[int]:
    """named of BIND, with the zones whose files lie there under their names; it answers for them and asks nobody.

    @return: its port on 127.0.0.1.
    """
    port = freePort()
    lines = [f'zone "{zone}" {{ type primary; file "{place}/{zone}"; }};' for zone in zones]
    (place / "named.conf").write_text(_NAMED.format(place=place, port=port) + "\n".join((*lines, "")))
    with _server(place / "named.log", port, "named", "-f", "-c", str(place / "named.conf")):
        yield port


@contextmanager
def unbound(place: Path, zones: Sequence[str], next: int) -> Iterator[int]:
    """Unbound, which validates what is below the trust anchors in C{anchors} there.

    @param next: the port on 127.0.0.1 of the server for C{zones}.
    @return: its port on 127.0.0.1.
    """
    port = freePort()
    lines = [f'stub-zone:\n  name: "{zone}"\n  stub-addr: 127.0.0.1@{next}' for zone in zones]
    (place / "unbound.conf").write_text(_UNBOUND.format(place=place, port=port) + "\n".join((*lines, "")))
    with _server(place / "unbound.log", port, "unbound", "-d", "-c", str(place / "unbound.conf")):
        yield port
