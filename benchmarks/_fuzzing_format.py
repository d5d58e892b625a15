"""What the fuzzer knows of a format: valid files, mutations of them, and the reader, as a command uses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from _fuzzing_mutations import Files, Mutator, havoc, in_a_file, of_files, words

BYTES = (in_a_file(havoc),)
TEXT = (in_a_file(havoc), in_a_file(words), in_a_file(words))
SEVERAL = (*TEXT, of_files)


@dataclass(frozen=True)
class Format:
    """One format of files."""

    name: str
    make: Callable[[Path], Sequence[Files]]
    """Valid files by path, made by handpipe's own writers where there are any; the folder is empty, to work in."""
    read: Callable[[Path], None]
    """Reads the files in a folder. Raises HandpipeError for files that it refuses, and AssertionError where it accepts
    files and what it returns is not what its docstring says."""
    mutators: tuple[Mutator, ...]
    modules: tuple[str, ...]
    """Below handpipe: those whose lines count as the reader's."""
    writes: bool = False
    """Whether the reader changes the files: they are written anew for each input."""


def only_file(folder: Path) -> str:
    """The path of the one file of a format; one that a mutation has removed is not there."""
    return str(next((path for path in sorted(folder.rglob("*")) if path.is_file()), folder / "none"))
