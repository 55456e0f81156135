"""Files of a diagnosis: every format says the same, and what is damaged, malicious or no data is refused in one line."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from jepalign.diagnosis import as_json, diagnose
from jepalign.diagnosis.evidence import read_evidence
from jepalign.diagnosis.gathering import gather
from jepalign.diagnosis.records import open_record
from jepalign.errors import InputError

Arrays = dict[str, Any]


def rows(count: int = 40, width: int = 3, seed: int = 0, features: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(count, width)).astype(np.float32)
    found: Arrays = {"context": z, "target": z + rng.normal(size=z.shape).astype(np.float32)}
    found["predictor"] = rng.normal(size=(width, width)).astype(np.float32)
    if features:
        h, other = (rng.normal(size=(count, features)).astype(np.float32) for _ in range(2))
        found |= {"context_features": h, "target_features": h + other}
        found["encoder"] = rng.normal(size=(width, features)).astype(np.float32)
    return found


def as_npz(path: Path, arrays: Arrays) -> Path:
    np.savez(path.with_suffix(".npz"), **arrays)
    return path.with_suffix(".npz")


def as_deflated(path: Path, arrays: Arrays) -> Path:
    np.savez_compressed(path.with_suffix(".npz"), **arrays)
    return path.with_suffix(".npz")


def as_folder(path: Path, arrays: Arrays) -> Path:
    path.mkdir()
    for name, value in arrays.items():
        np.save(path / f"{name}.npy", value)
    return path


def as_one_of_a_folder(path: Path, arrays: Arrays) -> Path:
    return as_folder(path, arrays) / "context.npy"


def as_safetensors(path: Path, arrays: Arrays) -> Path:
    save_file({name: np.asarray(value) for name, value in arrays.items()}, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def as_checkpoint(path: Path, arrays: Arrays) -> Path:
    torch.save({name: torch.tensor(value) for name, value in arrays.items()}, path.with_suffix(".pt"))
    return path.with_suffix(".pt")


WRITERS = [as_npz, as_deflated, as_folder, as_one_of_a_folder, as_safetensors, as_checkpoint]


@pytest.mark.parametrize("write", WRITERS[1:], ids=lambda write: write.__name__)
def test_every_format_says_the_same(write: Callable[[Path, Arrays], Path], tmp_path: Path) -> None:
    arrays = {**rows(features=5), "step": np.array(7)}
    flags = {"weight_decay": 0.1}
    expected = as_json(diagnose(as_npz(tmp_path / "plain", arrays), flags))
    found = as_json(diagnose(write(tmp_path / "other", arrays), flags))
    assert found["step"] == 7
    assert {**found, "source": ""} == {**expected, "source": ""}


@pytest.mark.parametrize(
    ("name", "step"),
    [("vit16", None), ("run-0012", 12), ("step300", 300), ("a.5", 5), ("3_7", 7), ("12b", 12), ("x", None)],
)
def test_steps_are_read_from_names(name: str, step: int | None, tmp_path: Path) -> None:
    (tmp_path / f"{name}.npz").write_bytes(as_npz(tmp_path / "plain", rows()).read_bytes())
    assert open_record(tmp_path / f"{name}.npz").step == step


@pytest.mark.parametrize("kind", [np.float16, np.float64, ">f4", np.int32])
def test_every_kind_of_number_is_read(kind: Any, tmp_path: Path) -> None:
    arrays = {name: np.round(4 * value).astype(kind) for name, value in rows().items()}
    exact = {name: value.astype(np.float64) for name, value in arrays.items()}
    found, expected = (
        read_evidence(open_record(as_npz(tmp_path / name, part))) for name, part in (("a", arrays), ("b", exact))
    )
    np.testing.assert_array_equal(found.embeddings.cross, expected.embeddings.cross)


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_bfloat16_is_read(ending: str, tmp_path: Path) -> None:
    exact = {name: torch.tensor(value).to(torch.bfloat16) for name, value in rows().items()}
    path = tmp_path / f"half.{ending}"
    if ending == "pt":
        torch.save(exact, path)
    else:
        save_tensors(exact, path)
    expected = as_npz(tmp_path / "exact", {name: value.double().numpy() for name, value in exact.items()})
    found = [read_evidence(open_record(place)).embeddings for place in (path, expected)]
    np.testing.assert_array_equal(found[0].context, found[1].context)


@given(count=st.integers(4, 300), width=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_one_pass_has_the_moments_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, count: int, width: int, seed: int
) -> None:
    """Means of n products are off by at most n roundings of the largest, and so is whatever way they are summed."""
    from jepalign.diagnosis.spread import readings, spread

    arrays = rows(count, width, seed)
    record = open_record(as_npz(tmp_path_factory.mktemp("pass") / "x", arrays))
    found = gather(record)
    z, target = (arrays[name].astype(np.float64) for name in ("context", "target"))
    size = np.abs(z).max() * np.abs(target).max()
    moments = read_evidence(record).embeddings
    np.testing.assert_allclose(moments.cross, target.T @ z / count, atol=count * 2.3e-16 * size)
    # Blocks hold all rows but a rest that is too short for one of its own; their moments are single precision.
    assert count - found.blocks.count.sum() < max(2, -(-count // 128))
    if found.blocks.count.sum() == count:
        share = found.blocks.count / count
        whole = np.einsum("b,bij->ij", share, found.blocks.cross.astype(np.float64))
        whole += (found.blocks.target_mean * share[:, None]).T @ found.blocks.context_mean
        np.testing.assert_allclose(whole, target.T @ z / count, atol=1e-6 * size)
    told = spread(moments, found.blocks, np.eye(width), of="variance", kept=np.arange(width), mean=True)
    assert np.isfinite(told.replicates.context).all()
    assert (readings(moments, np.eye(width), mean=True).context >= 0).all()


# -- moments instead of rows ------------------------------------------------------------------------------------------------


def moments_of(arrays: Arrays) -> Arrays:
    found: Arrays = {"count": np.array(len(arrays["context"]))}
    for prefix, first, second in (("", "context", "target"), ("features_", "context_features", "target_features")):
        if first not in arrays:
            continue
        z, target = (arrays[name].astype(np.float64) for name in (first, second))
        found |= {f"{prefix}context_mean": z.mean(axis=0), f"{prefix}target_mean": target.mean(axis=0)}
        found |= {f"{prefix}context_moment": z.T @ z / len(z), f"{prefix}target_moment": target.T @ target / len(z)}
        found[f"{prefix}cross_moment"] = target.T @ z / len(z)
    return found | {name: arrays[name] for name in ("predictor", "encoder", "target_encoder") if name in arrays}


@pytest.mark.parametrize("features", [0, 6])
def test_moments_say_what_rows_say_but_for_what_needs_rows(features: int, tmp_path: Path) -> None:
    arrays = rows(500, 4, features=features)
    flags = {"weight_decay": 0.05}
    whole = as_json(diagnose(as_npz(tmp_path / "rows", arrays), flags))
    told = as_json(diagnose(as_npz(tmp_path / "moments", moments_of(arrays)), flags))
    for name in ("alignment", "implicit_uniformity_power", "effective_rank"):
        assert told[name] == pytest.approx(whole[name], rel=1e-9)
    np.testing.assert_allclose(told["correlation"], whole["correlation"], rtol=1e-9)
    assert told["surviving_rank"] == whole["surviving_rank"]
    assert told["uniformity"] is None
    assert told["basis"] == whole["basis"]
    # Gaussian rows, drawn independently: both kinds of interval estimate the same, from 128 blocks to about a tenth.
    for mine, other in zip(told["dimensions"], whole["dimensions"], strict=True):
        wide, narrow = (np.diff(each["correlation_interval"])[0] for each in (mine, other))
        assert 0.6 < wide / narrow < 1.6


def test_an_embedding_wider_than_what_makes_it_has_no_interval_below_nothing(tmp_path: Path) -> None:
    """Variances that are 0 come out of either sign by rounding; none becomes NaN or a warning."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        h, W = rng.normal(size=(40, 2)), rng.normal(size=(6, 2))
        arrays = {"context": h @ W.T, "target": (h + rng.normal(size=h.shape)) @ W.T}
        found = diagnose(as_npz(tmp_path / "wide", moments_of(arrays)), {"weight_decay": 0.05})
        for low, high in (found.table.intervals()[name] for name in ("embedding", "correlation")):
            assert np.isfinite([low, high]).all()


def test_recorded_in_single_precision_is_enough(tmp_path: Path) -> None:
    arrays = {
        name: value.astype(np.float32) if name != "count" else value for name, value in moments_of(rows()).items()
    }
    assert diagnose(as_npz(tmp_path / "single", arrays)).evidence.embeddings.width == 3


def spoilt(**changes: Any) -> Arrays:
    return {**moments_of(rows()), **changes}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (spoilt(count=np.array(2)), "count"),
        (spoilt(count=np.array(7.5)), "count"),
        (spoilt(context_moment=np.triu(np.ones((3, 3)))), "symmetric"),
        (spoilt(cross_moment=100 * np.eye(3)), "positive semidefinite"),
        (spoilt(context_moment=-np.eye(3)), "context_moment"),
        (spoilt(context_moment=np.full((3, 3), np.nan)), "finite"),
        (spoilt(context_mean=np.ones(4)), "context_mean"),
        (spoilt(target_moment=np.ones(3)), "axes"),
        ({name: value for name, value in spoilt().items() if name != "cross_moment"}, "must hold"),
        (spoilt(context_mean=np.ones(3), context_moment=np.ones((3, 3))), "collapsed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_moments_of_nothing_are_refused(arrays: Arrays, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        diagnose(as_npz(tmp_path / "bad", arrays))


# -- bad rows ---------------------------------------------------------------------------------------------------------------


def changed(**changes: Any) -> Arrays:
    return {name: value for name, value in {**rows(), **changes}.items() if value is not None}


def with_holes() -> Arrays:
    arrays = rows()
    arrays["context"][3, 1] = np.nan
    arrays["target"][5, 0] = np.inf
    return arrays


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (changed(target=None), "must hold target"),
        (changed(context=None), "must hold context"),
        (changed(target=np.ones((40, 4))), "k = 3"),
        (changed(target=np.ones((39, 3))), "paired with the 40 rows"),
        (changed(context=np.ones((40, 3, 1))), "flatten"),
        (changed(predictor=np.ones((3, 4))), "k = 3"),
        (changed(predictor=np.full((3, 3), np.nan)), "predictor.*finite"),
        (changed(encoder=np.ones((4, 7))), "k = 3"),
        (changed(prediction=np.ones((40, 2))), "k = 3"),
        (changed(context_features=np.ones((40, 7)), target_features=np.ones((40, 6))), "h = 7"),
        (changed(context=np.ones((2, 3)), target=np.ones((2, 3))), "at least 4"),
        (changed(context=np.ones((40, 3))), "context.*same row again"),
        (changed(target=np.full((40, 3), 1e8)), "target.*same row again"),
        (changed(target=rows()["context"]), "equal to context"),
        (changed(context=np.tile(rows()["context"][:20], (2, 1))), "20 of 40 rows repeat"),
        (with_holes(), "2 of 40 with NaN or infinity"),
        (changed(context=rows()["context"] * np.float32(1e18)), "must not exceed"),
        (changed(context=rows()["context"] * np.float32(1e-18)), "rescale"),
        (changed(context=np.array([["a"] * 3] * 40)), "real numbers"),
        (changed(context=rows()["context"].astype(np.complex64)), "real numbers"),
        (changed(context=rows()["context"].astype(np.longdouble)), "64 bits"),
        (changed(context=np.asfortranarray(rows()["context"])), "row order"),
        (changed(step=np.array([1, 2])), "one number"),
        (changed(step=np.array(-1)), "at least 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_rows_are_refused_in_one_line(arrays: Arrays, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words) as caught:
        diagnose(as_npz(tmp_path / "bad", arrays))
    assert "\n" not in str(caught.value)


def test_rows_with_nan_can_be_dropped(tmp_path: Path) -> None:
    arrays = with_holes()
    found = diagnose(as_npz(tmp_path / "holes", arrays), drop_nonfinite=True)
    left = np.setdiff1d(np.arange(40), [3, 5])
    kept = diagnose(
        as_npz(tmp_path / "left", {**arrays, "context": arrays["context"][left], "target": arrays["target"][left]})
    )
    assert found.evidence.dropped == 2
    np.testing.assert_allclose(found.evidence.embeddings.cross, kept.evidence.embeddings.cross, rtol=1e-12)


def test_an_overflow_of_float16_is_called_one(tmp_path: Path) -> None:
    with np.errstate(over="ignore"):
        arrays = {**rows(), "context": (rows()["context"] * np.float32(40_000)).astype(np.float16)}
    with pytest.raises(InputError, match="float16 has overflowed"):
        diagnose(as_npz(tmp_path / "half", arrays))


def test_fewer_rows_than_dimensions_are_shrunk_and_said(tmp_path: Path) -> None:
    from jepalign.diagnosis.text import facts

    found = diagnose(as_npz(tmp_path / "few", rows(12, 10)))
    assert 0 < found.spectrum.shrinkage < 1
    assert max(found.spectrum.correlations) < 1
    assert any("shrunk" in line for line in facts(found))
    for arrays in (moments_of(rows(12, 10)),):
        assert 0 < diagnose(as_npz(tmp_path / "moments", arrays)).spectrum.shrinkage <= 1


# -- bad files --------------------------------------------------------------------------------------------------------------


class Bomb:
    """What a pickle can do: here it would leave a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.place,)


def test_pickles_are_refused_and_not_run(tmp_path: Path) -> None:
    place = tmp_path / "ran"
    objects = np.array([Bomb(place)] * 4, dtype=object)
    np.savez(tmp_path / "objects.npz", context=objects, target=objects, allow_pickle=True)
    np.save(tmp_path / "context.npy", objects, allow_pickle=True)
    torch.save({"context": Bomb(place), "target": torch.ones(4, 2)}, tmp_path / "bomb.pt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Bomb(place)))
    for name in ("objects.npz", "context.npy", "bomb.pt", "bare.pt"):
        with pytest.raises(InputError):
            diagnose(tmp_path / name)
    assert not place.exists()


def npy(shape: str, kind: str = "<f4", data: bytes = b"") -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def archive(path: Path, context: bytes, *, deflate: bool = False) -> Path:
    good = io.BytesIO()
    np.save(good, rows()["target"])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED) as found:
        found.writestr("context.npy", context)
        found.writestr("target.npy", good.getvalue())
    return path


@pytest.mark.parametrize(
    "context",
    [
        npy("(1000000000000, 1000000)"),
        npy("(40, 3)", data=b"\0" * 479),
        npy("(-40, 3)"),
        npy("(40, 3)", kind="|O"),
        npy("(40, 3)", kind="<f4, <f4"),
        npy("(" * 5000),
        npy("(40, __import__('os'))"),
        b"\x93NUMPY\x03\x00" + npy("(40, 3)")[8:],
        b"not numpy",
        b"",
    ],
    ids=["absurd", "short", "negative", "object", "structured", "nested", "code", "version", "other", "empty"],
)
def test_headers_that_lie_are_refused(context: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        diagnose(archive(tmp_path / "liar.npz", context))


def test_zip_bombs_are_refused(tmp_path: Path) -> None:
    bomb = npy("(25000000, 3)", data=b"\0" * 300_000_000)
    with pytest.raises(InputError, match="factor"):
        diagnose(archive(tmp_path / "bomb.npz", bomb, deflate=True))


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"context": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 8]}}, "bytes"),
        ({"context": {"dtype": "F32", "shape": [40, 3], "data_offsets": [0, 10**12]}}, "bytes"),
        ({"context": {"dtype": "F32", "shape": [-1, 3], "data_offsets": [0, 8]}}, "at least 0"),
        ({"context": {"dtype": "F32", "shape": [True, 3], "data_offsets": [0, 8]}}, "integers"),
        ({"context": {"dtype": "C64", "shape": [1, 1], "data_offsets": [0, 8]}}, "must be one of"),
        ({"context": {"dtype": "F32"}}, "must be a whole"),
        ([1, 2], "by name"),
    ],
    ids=["absurd", "beyond", "negative", "boolean", "complex", "incomplete", "list"],
)
def test_safetensors_that_lie_are_refused(header: Any, words: str, tmp_path: Path) -> None:
    data = json.dumps(header).encode()
    (tmp_path / "liar.safetensors").write_bytes(struct.pack("<Q", len(data)) + data + b"\0" * 64)
    with pytest.raises(InputError, match=words):
        diagnose(tmp_path / "liar.safetensors")


def test_an_absurd_safetensors_header_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "liar.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(InputError, match="header"):
        diagnose(tmp_path / "liar.safetensors")


def test_an_expanded_tensor_is_refused(tmp_path: Path) -> None:
    torch.save({"context": torch.ones(1).expand(10**7, 3), "target": torch.ones(4, 3)}, tmp_path / "wide.pt")
    with pytest.raises(InputError, match="expanded"):
        diagnose(tmp_path / "wide.pt")


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.npz", b""), ("x.npz", b"PK\x03\x04"), ("x.pt", b"\x80\x04."), ("x.csv", b"1,2"), ("context.npy", b"")],
)
def test_files_that_are_none_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError):
        diagnose(tmp_path / name)


def test_places_without_records_are_refused(tmp_path: Path) -> None:
    for place in (tmp_path / "absent", tmp_path, Path("/dev/zero")):
        with pytest.raises(InputError):
            diagnose(place)


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    as_folder(tmp_path / "run", {"context": rows()["context"]})
    os.mkfifo(tmp_path / "run" / "target.npy")
    os.mkfifo(tmp_path / "pipe.npz")
    for place in (tmp_path / "run", tmp_path / "pipe.npz"):
        with pytest.raises(InputError):
            diagnose(place)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([torch.ones(3)], tmp_path / "list.pt")
    torch.save({"context": "text", "target": torch.ones(4, 3)}, tmp_path / "text.pt")
    torch.save({"context": torch.eye(4).to_sparse(), "target": torch.ones(4, 3)}, tmp_path / "sparse.pt")
    for name in ("list", "text", "sparse"):
        with pytest.raises(InputError):
            diagnose(tmp_path / f"{name}.pt")
