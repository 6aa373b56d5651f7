"""Passwords of the system's users, checked by PAM: a child of the root helper reads one question, answers it, and ends.

Two questions are put to PAM, as it should be: is the password right (authentication), and may the user log in now (account management: the
account may have expired or be locked). The service is C{pysmtpd}; where C{/etc/pam.d/pysmtpd} is not there, PAM takes C{/etc/pam.d/other}.
Root's own password is never tried: nobody reads root's mail by guessing.

PAM is reached by ctypes, since the helper's interpreter loads no installed packages, and must not.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import pwd
import signal
import socket
from collections.abc import Callable
from typing import Any, Final

from pysmtpd.privilege import wire
from pysmtpd.privilege.children import Children

SERVICE: Final = b"pysmtpd"

# Children at one time, and seconds that each may live: PAM may wait for a directory on the network.
MAX_CHECKS: Final = 8
LIFE: Final = 60

MAX_USER: Final = 255
MAX_PASSWORD: Final = 1024

_SUCCESS = 0
# Of pam_appl.h, as Linux has them: what can be no other than a wrong password or a user who may not.
_REFUSALS: Final = {
    6: "permission denied",
    7: "wrong password",
    8: "insufficient credentials",
    10: "unknown user",
    11: "too many tries",
    12: "the password has expired",
    13: "the account has expired",
}
_SILENT: Final = 0x8000
_NO_EMPTY: Final = 0x0001
_RHOST: Final = 4
_PROMPT_HIDDEN: Final = 1


class _Message(ctypes.Structure):
    _fields_ = [("style", ctypes.c_int), ("text", ctypes.c_char_p)]


class _Response(ctypes.Structure):
    _fields_ = [("text", ctypes.c_void_p), ("code", ctypes.c_int)]


_Converse = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.POINTER(_Message)),
    ctypes.POINTER(ctypes.POINTER(_Response)),
    ctypes.c_void_p,
)


class _Conversation(ctypes.Structure):
    _fields_ = [("converse", _Converse), ("data", ctypes.c_void_p)]


class Trouble(Exception):
    """It cannot be told; the text says why."""


class PasswordVerb:
    """The root helper's verb.

    @ivar children: those who check.
    """

    def __init__(self, isAllowed: bool) -> None:
        self._isAllowed = isAllowed
        self.children = Children(MAX_CHECKS, "too many passwords are being checked", LIFE + 1)

    def start(self, values: dict[str, Any]) -> socket.socket:
        """A connection to a child that checks one password of the system, as root, and ends.

        @raise Refused: there are too many.
        @raise ValueError: this is refused; the text says why.
        """
        if not self._isAllowed:
            raise ValueError("no listener of the configuration asks the system")
        return self.children.start(serve)


def missing() -> str:
    """Why passwords of the system cannot be checked on this machine; empty: they can."""
    try:
        _library()
    except Trouble as error:
        return str(error)
    return ""


def serve(connection: socket.socket, check: Callable[[str, bytes, str], bool] | None = None) -> None:
    """Answer one question.

    @param check: in place of L{isRight}.
    """
    signal.alarm(LIFE)
    question = wire.receive(connection)
    if question is None:
        return
    values, _ = question
    try:
        user, peer = values.get("user"), values.get("peer")
        text = values.get("password")
        if not isinstance(user, str) or not isinstance(peer, str) or not isinstance(text, str):
            raise Trouble("a malformed question")
        password = base64.b64decode(text, validate=True)
        wire.send(connection, {"isRight": (check or isRight)(user, password, peer)})
    except (Trouble, binascii.Error, OSError) as error:
        wire.send(connection, {"trouble": str(error)[:500]})


def isRight(user: str, password: bytes, peer: str) -> bool:
    """
    @raise Trouble: it cannot be told now.
    """
    name = user.encode("utf-8", "replace")
    isOdd = not name or len(name) > MAX_USER or b"\0" in name or not password or len(password) > MAX_PASSWORD
    if isOdd or b"\0" in password:
        return False
    try:
        if pwd.getpwnam(user).pw_uid == 0:
            return False
    except (KeyError, UnicodeError):
        # PAM shall take as long as for one who is there.
        pass
    return _ask(name, password, peer.encode("ascii", "replace"))


def _ask(user: bytes, password: bytes, peer: bytes) -> bool:
    pam = _library()
    system = ctypes.CDLL(None)
    system.calloc.restype = ctypes.c_void_p
    system.calloc.argtypes = (ctypes.c_size_t, ctypes.c_size_t)
    system.strdup.restype = ctypes.c_void_p
    system.strdup.argtypes = (ctypes.c_char_p,)

    def converse(count: int, messages: Any, responses: Any, data: object) -> int:
        # PAM frees these, so they must be the C library's.
        place = system.calloc(count, ctypes.sizeof(_Response))
        given = ctypes.cast(place, ctypes.POINTER(_Response))
        for index in range(count):
            if messages[index].contents.style == _PROMPT_HIDDEN:
                given[index].text = system.strdup(password)
        responses[0] = given
        return _SUCCESS

    conversation = _Conversation(_Converse(converse), None)
    handle = ctypes.c_void_p()
    code = pam.pam_start(SERVICE, user, ctypes.byref(conversation), ctypes.byref(handle))
    if code != _SUCCESS:
        raise Trouble(f"PAM does not start: error {code}")
    try:
        pam.pam_set_item(handle, _RHOST, peer)
        code = pam.pam_authenticate(handle, _SILENT | _NO_EMPTY)
        if code == _SUCCESS:
            code = pam.pam_acct_mgmt(handle, _SILENT | _NO_EMPTY)
        if code != _SUCCESS and code not in _REFUSALS:
            told = pam.pam_strerror(handle, code)
            raise Trouble(f"PAM: {(told or b'').decode('utf-8', 'replace') or code}")
        return bool(code == _SUCCESS)
    finally:
        pam.pam_end(handle, code)


def _library() -> Any:
    try:
        pam = ctypes.CDLL("libpam.so.0")
        pam.pam_start.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p)
        pam.pam_set_item.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)
        pam.pam_authenticate.argtypes = pam.pam_acct_mgmt.argtypes = pam.pam_end.argtypes = (
            ctypes.c_void_p,
            ctypes.c_int,
        )
        pam.pam_strerror.argtypes = (ctypes.c_void_p, ctypes.c_int)
        pam.pam_strerror.restype = ctypes.c_char_p
    except (OSError, AttributeError) as error:
        raise Trouble(f"there is no libpam ({error})") from None
    return pam
