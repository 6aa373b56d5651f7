"""Old directives that neither listen nor decide."""

from __future__ import annotations

from collections.abc import Callable

from pysmtpd.config.dated.context import Context
from pysmtpd.config.dated.reader import Cannot, Reader, isMacro, written
from pysmtpd.config.printer import quoted

Handler = Callable[[Context, Reader], list[str]]


def pki(context: Context, reader: Reader) -> list[str]:
    """
    @raise Cannot: today has no counterpart. Likewise all others here.
    """
    name = reader.string()
    made: list[str] = []
    while (word := reader.take()) is not None:
        if word in ("certificate", "key"):
            made.append(f"pki {name} {'cert' if word == 'certificate' else 'key'} {reader.string()}")
        elif word == "ca":
            made.append(f"ca {name} cert {reader.string()}")
        elif word in ("dhe", "dhparams"):
            value = reader.stringToken()
            if value.text.lower() not in ("none", "auto", "legacy"):
                raise Cannot(f'"{word}" takes none, auto or legacy today, and no file')
            made.append(f"pki {name} dhe {value.text.lower()}")
        else:
            raise Cannot(f'"{word}" is no part of "pki"')
    declarePki(context, name)
    return made


def declarePki(context: Context, name: str) -> None:
    """Listeners that name no certificate had one of these."""
    if name not in context.pki:
        context.pki.append(name)


def ca(context: Context, reader: Reader) -> list[str]:
    name = reader.string()
    reader.expect("certificate")
    return [f"ca {name} cert {reader.string()}"]


def table(context: Context, reader: Reader) -> list[str]:
    name = reader.string()
    return [f"table {name} {reader.braces() if reader.isNext('{') else reader.string()}"]


def oldMap(context: Context, reader: Reader) -> list[str]:
    """C{map NAME source KIND PATH}, with or without braces, which was there before C{table}."""
    token = reader.stringToken()
    braced = reader.skip("{")
    reader.expect("source")
    kind = reader.expect("db", "file", "plain")
    path = reader.stringToken()
    if isMacro(path):
        raise Cannot("no macro is expanded behind the name of a backend")
    if braced:
        reader.expect("}")
    context.maps.add(token.text)
    backend = "db" if kind == "db" else "file"
    return [f"table {written(token)} {quoted(f'{backend}:{path.text}')}"]


def limit(context: Context, reader: Reader) -> list[str]:
    room = reader.expect("session", "mda", "mta", "scheduler")
    said = [f"{'smtp' if room == 'session' else room} limit"]
    while (word := reader.take()) is not None:
        if room == "mta" and word == "for":
            reader.expect("domain")
            said.append(f"for domain {reader.string()}")
        elif room == "mta" and word in ("inet4", "inet6"):
            said.append(word)
        else:
            said.append(f"{word} {reader.value()}")
    return [" ".join(said)]


def queue(context: Context, reader: Reader) -> list[str]:
    word = reader.expect("compression", "encryption")
    if word == "encryption" and reader.skip("key"):
        return [f"queue encryption {reader.value()}"]
    return [f"queue {word}"]


def bounceWarn(context: Context, reader: Reader) -> list[str]:
    delays = [reader.string()]
    while reader.skip(","):
        delays.append(reader.string())
    return [f"bounce warn-interval {', '.join(delays)}"]


def include(context: Context, reader: Reader) -> list[str]:
    context.note = "convert this file, too"
    return [f"include {reader.string()}"]


def hostname(context: Context, reader: Reader) -> list[str]:
    raise Cannot('the server\'s name stands in the file "mailname" today')


def value(words: str) -> Handler:
    """A directive of one value, by its words of today."""
    return lambda context, reader: [f"{words} {reader.value()}"]
