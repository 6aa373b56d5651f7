"""The steps by which a daemon that was started as root becomes one that is not."""

from __future__ import annotations

import os
import pwd
import threading
from collections.abc import Iterable, Mapping

from pysmtpd.privilege.client import Helper
from pysmtpd.privilege.drop import PrivilegeError, becomeUser


def separate(
    helper: Helper,
    user: pwd.struct_passwd,
    addresses: Iterable[tuple[str, int]],
    files: Mapping[tuple[str, str], str],
    passwords: bool = False,
    hasIds: bool = False,
) -> None:
    """Leave root's rights to the helper, and go on as this user. Nothing from outside was read before, nothing of it is root's after.

    @raise PrivilegeError: there are threads already, or rights that would not go.
    @raise pysmtpd.interfaces.HelperFailed: the helper does not start.
    """
    if threading.active_count() > 1:
        raise PrivilegeError("threads run already: rights must be given up before")
    helper.start(addresses, files, passwords, hasIds)
    becomeUser(user.pw_uid, user.pw_gid, [g for g in os.getgrouplist(user.pw_name, user.pw_gid) if g != 0])
