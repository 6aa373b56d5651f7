"""How the columns write kinds of work and conditions."""

from __future__ import annotations

from pysmtpd.model.schedule import Condition, Kind

KINDS = (Kind.MTA, Kind.MDA, Kind.BOUNCE, Kind.EXPIRE, Kind.REMOVE)
CODES = {kind: code for code, kind in enumerate(KINDS)}
MTA, MDA, BOUNCE, EXPIRE, REMOVE = range(len(KINDS))

# Those of the crowd are ready, too, but in no group.
PLACES = (*Condition, Condition.READY)
UNCOMMITTED, READY, WAITING, INFLIGHT, QUEUED, HELD, SUSPENDED, CROWD = range(len(PLACES))
