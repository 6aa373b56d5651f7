"""docs/differences.json, made of the table in docs/differences.md: the same rows for programs, each with the test that shows it.

    python -m tests.config.differences

takes over rows that are new or changed. Whoever adds a row names its test, C{tests.room.test_file:test_name}, in the JSON file.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "differences.md"
RECORD = ROOT / "docs" / "differences.json"
COLUMNS = ("id", "opensmtpd", "here", "why")


def rows() -> list[dict[str, str]]:
    """The rows of the page."""
    lines = [line for line in PAGE.read_text().split("\n") if line.startswith("| ")][1:]
    return [dict(zip(COLUMNS, (cell.strip() for cell in line.split("|")[1:-1]), strict=True)) for line in lines]


def recorded() -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(RECORD.read_text()) if RECORD.exists() else []
    return found


def hasTest(name: str) -> bool:
    """Is there such a test?"""
    module, _, function = name.partition(":")
    path = ROOT / (module.replace(".", "/") + ".py")
    if not path.exists() or not function.startswith("test_"):
        return False
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return any(isinstance(node, functions) and node.name == function for node in ast.walk(ast.parse(path.read_text())))


def main() -> None:
    tests = {row["id"]: row["test"] for row in recorded()}
    made = [row | {"test": tests.get(row["id"], "")} for row in rows()]
    RECORD.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    for row in made:
        if not hasTest(row["test"]):
            print(f"{row['id']}: no test")


if __name__ == "__main__":
    main()
