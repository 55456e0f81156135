"""Diagnose files that have been damaged at random: each is diagnosed or refused in one line, and none is waited for.

``python benchmarks/damaged_files.py COUNT SEED`` prints how many were refused; anything else that happens ends it with an error. A hundred
are part of the tests, a thousand of ``make stress``.
"""

import faulthandler
import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from safetensors.numpy import save

from jepalign.diagnosis import as_json, diagnose
from jepalign.diagnosis.text import terminal
from jepalign.errors import InputError

SECONDS = 60  # for a file of two kilobytes, on a machine that does other things too
# Which record a file belongs to, if it is none itself.
RECORDS = {"settings.json": "settings.safetensors"}


def originals(folder: Path) -> dict[str, bytes]:
    """Return the bytes of small records: rows in each format (of the .npy files, the context), moments, and settings."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(24, 3)).astype(np.float32)
    arrays: dict[str, Any] = {"context": z, "target": z + rng.normal(size=z.shape).astype(np.float32)}
    arrays["predictor"] = rng.normal(size=(3, 3)).astype(np.float32)
    arrays["encoder"] = rng.normal(size=(3, 4)).astype(np.float32)
    for name in ("context_features", "target_features"):
        arrays[name] = rng.normal(size=(24, 4)).astype(np.float32)
    arrays["step"] = np.array(3)
    np.savez(folder / "npz.npz", **arrays)
    np.savez_compressed(folder / "deflated.npz", **arrays)
    torch.save({name: torch.tensor(value) for name, value in arrays.items()}, folder / "pt.pt")
    for name, value in arrays.items():
        np.save(folder / f"{name}.npy", value)
    found = {name: (folder / name).read_bytes() for name in ("npz.npz", "deflated.npz", "pt.pt")}
    found["context.npy"] = (folder / "context.npy").read_bytes()
    found["rows.safetensors"] = save(arrays)
    means: dict[str, Any] = {"count": np.array(24), "predictor": arrays["predictor"]}
    for name, first, second in (
        ("context", z, z),
        ("target", *2 * (arrays["target"],)),
        ("cross", arrays["target"], z),
    ):
        means |= {f"{name}_mean": first.mean(axis=0), f"{name}_moment": first.T @ second / 24}
    found["moments.safetensors"] = save(means)
    (folder / RECORDS["settings.json"]).write_bytes(found["rows.safetensors"])
    found["settings.json"] = json.dumps({"steps": 100, "weight_decay": 0.1, "loss": "mean", "note": [None]}).encode()
    return found


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with one or a few random wounds: bytes changed, cut off, doubled, zeroed, or its beginning alone."""
    wounded = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        size = len(wounded)
        if not size:
            break
        # Headers are a small part of a file and the larger part of its parser: half of the wounds are at the ends.
        place = (
            int(rng.integers(size) if rng.random() < 0.5 else rng.choice([1, -1]) * rng.integers(min(size, 200))) % size
        )
        length = int(rng.integers(1, 64))
        match int(rng.integers(6)):
            case 0:
                wounded[place] ^= 1 << int(rng.integers(8))
            case 1:
                wounded[place : place + length] = rng.bytes(min(length, size - place))
            case 2:
                del wounded[place:]
            case 3:
                del wounded[place : place + length]
            case 4:
                wounded[place:place] = wounded[place : place + length]
            case _:
                wounded[place : place + length] = bytes(min(length, size - place))
    return bytes(wounded)


def main(count: int, seed: int) -> None:
    """Damage and diagnose ``count`` files."""
    warnings.simplefilter("error")
    console = Console(file=None, quiet=True)
    rng = np.random.default_rng(seed)
    refused = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = originals(folder)
        names = list(files)
        for index in range(count):
            name = names[index % len(names)]
            (folder / name).write_bytes(damaged(files[name], rng))
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            try:
                found = diagnose(folder / RECORDS.get(name, name), {"weight_decay": 0.05, "learning_rate": 0.1})
                json.dumps(as_json(found), allow_nan=False)
                console.print(terminal(found))
            except InputError as problem:
                refused += 1
                if "\n" in str(problem):
                    raise AssertionError(f"more than a line: {problem}") from problem
            except BaseException:
                print(f"file {index} of seed {seed}: {name}", file=sys.stderr)
                raise
            finally:
                faulthandler.cancel_dump_traceback_later()
    print(f"{refused} of {count} refused, {count - refused} diagnosed")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
