"""OpenSMTPD's languages before 6.4: what is said of their words, and how they become today's."""

from __future__ import annotations
