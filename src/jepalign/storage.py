"""Writing results so that nothing is ever half-written, and saying where they came from."""

import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jepalign.errors import InputError


def output_directory(path: str | os.PathLike[str], argument: str = "out") -> Path:
    """Create the directory ``path`` if need be and return it.

    Raises ``InputError`` naming ``argument`` if ``path`` is a file, lies under one, or cannot be written to.
    """
    directory = Path(path)
    for place in (directory, *directory.parents):
        if place.exists() and not place.is_dir():
            raise InputError(argument, str(place), "must be a directory, but a file of that name exists")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as problem:
        raise InputError(argument, str(directory), f"must be writable ({problem.strerror})") from problem
    return directory


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Generator[Path, None, None]:
    """Yield a temporary path beside ``path``; on success it takes the name ``path``, on failure it is removed."""
    final = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{final.stem}-", suffix=final.suffix, dir=final.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files; results are for everybody the umask allows
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return Path(path)


def write_json(path: str | os.PathLike[str], data: Any) -> Path:
    """Write ``data`` to ``path`` as indented JSON with sorted keys, whole or not at all."""
    return write_text(path, json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def versions(*distributions: str) -> dict[str, str]:
    """Return the installed versions of Python and of the named distributions (absent ones are left out)."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def provenance(command: str, seed: int, device: str, distributions: tuple[str, ...]) -> Mapping[str, Any]:
    """Say how a result was made: command, seed, device, date, versions, and the commit of the code that ran.

    ``commit`` is None outside a checkout; ``dirty`` says whether tracked files differed from that commit.
    """
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True)  # noqa: S603, S607
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    # An installed copy may lie inside somebody else's checkout: only a repository that tracks this file counts.
    tracked = git("ls-files", "--error-unmatch", Path(__file__).resolve().name) is not None
    return {
        "command": command,
        "seed": seed,
        "device": device,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": versions("jepalign", *distributions),
        "commit": git("rev-parse", "HEAD") if tracked else None,
        "dirty": bool(git("status", "--porcelain", "--untracked-files=no")) if tracked else None,
    }
