"""Reading configurations from text, in a small machine."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent

from pysmtpd.config import ConfigErrors, Environment, load
from pysmtpd.model.config import Config

ENVIRONMENT = Environment(
    "mx.example.org",
    ("127.0.0.1", "::1", "192.0.2.25"),
    {"lo": ("127.0.0.1", "::1"), "eth0": ("192.0.2.25",)},
    lambda name: ["192.0.2.80", "2001:db8::80"] if name == "host.example.org" else [],
)


def read(text: str, defines: Mapping[str, str] | None = None, **files: str) -> Config:
    """The configuration; C{files} are those that it includes, C{name} for C{name.conf}."""
    contents = {"smtpd.conf": dedent(text)} | {f"{name}.conf": dedent(content) for name, content in files.items()}

    def readFile(path: str) -> str:
        if path not in contents:
            raise FileNotFoundError(2, "No such file or directory", path)
        return contents[path]

    return load("smtpd.conf", readFile, ENVIRONMENT, defines)


def problems(text: str, **files: str) -> list[str]:
    """C{line:column message} of each problem; empty: there is none."""
    try:
        read(text, None, **files)
    except ConfigErrors as errors:
        return [f"{p.where.line}:{p.where.column} {p.message}" for p in errors.problems]
    return []
