"""Documents whose examples are carried out to the letter.

What a fenced block is shows by its language:

``python``
    With ``# folder/file.py`` for its first line, a file to write; else code to run, in
    one namespace for the whole document.
``diff``
    A change of files.
``console``
    Commands after ``$``, which go on after ``>``, each with what it prints; ``...``
    stands for anything, and spaces and ends of lines are all one.

Blocks of other languages are there to be read.
"""

import contextlib
import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
_FILE = re.compile(r"# ([\w/-]+\.py)\n")


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    language: str
    text: str
    line: int


def blocks(document: str) -> list[Block]:
    """Return the blocks of a document in order.

    Examples
    --------
    >>> blocks("Do this:\\n\\n```console\\n$ true\\n```\\n")
    [Block(language='console', text='$ true\\n', line=4)]
    """
    return [
        Block(found[1], found[2], document[: found.start(2)].count("\n") + 1)
        for found in _BLOCK.finditer(document)
    ]


def tracked(root: Path = ROOT) -> list[str]:
    """Return what git tracks; where it tracks nothing, all that is no by-product.

    A release, say, is unpacked without its history.
    """
    listed = subprocess.run(
        ["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0 and listed.stdout:
        return listed.stdout.splitlines()
    made = {".git", ".venv", "__pycache__", "build", "dist", "generated", "out"}
    files = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    return sorted(
        str(file)
        for file in files
        if made.isdisjoint(file.parts)
        and not file.parts[0].endswith((".egg-info", "_cache"))
    )


def copy_of_the_checkout(folder: Path) -> Path:
    """Copy what is tracked, without the pack and the records; return the folder."""
    for name in tracked():
        if not name.startswith(("fixtures/pack/", "reports/records/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@dataclass
class Reader:
    """Somebody who does what documents say.

    Attributes
    ----------
    folder
        Where.
    environment
        Variables of the commands.
    names
        What code has defined.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    names: dict[str, Any] = field(default_factory=dict)

    def follow(self, document: str) -> None:
        """Carry out a document.

        Raises
        ------
        AssertionError
            Something does not go as it says; it names the line.
        """
        for block in blocks(document):
            if block.language == "python":
                self._python(block)
            elif block.language == "diff":
                told = self._run("git apply --whitespace=nowarn -", block.text)
                assert told.returncode == 0, f"line {block.line}: {told.stdout}"
            elif block.language == "console":
                for line, command, expected in commands(block):
                    told = self._run(command)
                    where = f"line {line}, $ {command}\n{told.stdout}"
                    assert told.returncode == 0, where
                    assert agree(expected, told.stdout), f"{where}\nnot\n{expected}"

    def _python(self, block: Block) -> None:
        if name := _FILE.match(block.text):
            file = self.folder / name[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text[name.end() :], encoding="utf-8")
        else:
            code = "\n" * (block.line - 1) + block.text
            with contextlib.chdir(self.folder):
                exec(compile(code, "the document", "exec"), self.names)

    def _run(self, command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command as in the suite's own environment; errors are not compared."""
        python = Path(sys.executable).parent
        own = {
            "PATH": f"{python}:{os.environ['PATH']}",
            "PYTEST_ADDOPTS": "-p no:cacheprovider",
            "PYTEST_XDIST_WORKER": "",
            **self.environment,
        }
        run = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env={**os.environ, **own},
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        run.stdout += run.stderr if run.returncode else ""
        return run


def commands(block: Block) -> Iterator[tuple[int, str, str]]:
    """Give the commands of a block: line, command, what it prints.

    Examples
    --------
    >>> [*commands(Block("console", "$ echo 1\\n1\\n$ true &&\\n>  true\\n", 7))]
    [(7, 'echo 1', '1\\n'), (9, 'true &&\\n true', '')]
    """
    line, command, expected = 0, "", ""
    for number, text in enumerate(block.text.splitlines(), block.line):
        if text.startswith("$ "):
            if command:
                yield line, command, expected
            line, command, expected = number, text[2:], ""
        elif text.startswith("> ") and not expected:
            command += f"\n{text[2:]}"
        else:
            expected += f"{text}\n"
    if command:
        yield line, command, expected


def agree(expected: str, printed: str) -> bool:
    """Return whether a command has printed what is expected.

    Examples
    --------
    >>> agree("a ... c\\n", "a b  c\\n"), agree("a\\n", "b\\n")
    (True, False)
    """
    return doctest.OutputChecker().check_output(expected, printed, FLAGS)
