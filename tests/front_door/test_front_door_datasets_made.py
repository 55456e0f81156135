"""Fashion-MNIST's reader against files made here and damaged; synthetic data against their known moments."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from jepalign.datasets import fashion_mnist, latent_views, rotating_transitions, token_sequences
from jepalign.datasets.fashion_mnist import DEBIAN, VARIABLE
from jepalign.errors import InputError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def idx(shape: tuple[int, ...], data: bytes) -> bytes:
    return b"\0\0\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pixels = bytes(range(2 * 28 * 28 % 256)) + bytes(2 * 28 * 28 - 2 * 28 * 28 % 256)
    (tmp_path / f"{IMAGES}.gz").write_bytes(gzip.compress(idx((2, 28, 28), pixels)))
    (tmp_path / LABELS).write_bytes(idx((2,), bytes([3, 9])))
    return tmp_path


def test_idx_files_are_read_gzipped_or_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fashion_mnist(path=folder)
    assert found.images.shape == (2, 784)
    assert found.images.dtype == np.float32
    assert found.labels.tolist() == [3, 9]
    assert found.images[0, :3].tolist() == pytest.approx([0, 1 / 255, 2 / 255])
    monkeypatch.setenv(VARIABLE, str(folder))
    assert np.array_equal(fashion_mnist().images, found.images)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (IMAGES, b"", "IDX"),
        (IMAGES, b"\0\0\x0d\x03" + bytes(12), "unsigned bytes"),
        (IMAGES, idx((2, 28, 28), b"")[:9], "cut off"),
        (IMAGES, idx((2, 28, 28), bytes(100)), "1568 bytes"),
        (IMAGES, idx((2, 28, 28), bytes(2000)), "more bytes"),
        (IMAGES, idx((2**31, 2**31, 28), b""), "at most"),
        (IMAGES, idx((3, 28, 28), bytes(3 * 784)), "as many images as labels"),
        (IMAGES, idx((2,), bytes(2)), "as many images as labels"),
        (f"{IMAGES}.gz", gzip.compress(idx((2, 28, 28), bytes(1568)))[:-20], "readable"),
        (f"{IMAGES}.gz", b"no gzip at all", "readable"),
    ],
    ids=["empty", "floats", "header", "short", "long", "huge", "unpaired", "flat", "gzip cut off", "no gzip"],
)
def test_damaged_files_are_refused(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / f"{IMAGES}.gz").unlink()
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        fashion_mnist(path=folder)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dataset-fashion-mnist"):
        fashion_mnist(path=tmp_path)
    with pytest.raises(InputError, match="'train' or 'test'"):
        fashion_mnist("validation", tmp_path)


def test_the_installed_set_is_the_published_one_where_there_is_one() -> None:
    # Without the package this asserts that its absence is told, which is all that can be known.
    if not DEBIAN.is_dir():
        with pytest.raises(InputError, match="dataset-fashion-mnist"):
            fashion_mnist("test", DEBIAN)
        return
    found = fashion_mnist("test", DEBIAN)
    assert found.images.shape == (10000, 784)
    assert np.bincount(found.labels).tolist() == [1000] * 10


@pytest.mark.parametrize("latents", ["gaussian", "uniform", "laplace", "binary"])
def test_latent_views_have_their_correlations(latents: str) -> None:
    rho = np.array([0.9, 0.5, -0.6])
    found = latent_views(200_000, 5, rho, latents=latents, seed=1)
    x, y = found.x, found.y
    # Moments of 2·10⁵ samples are known to a few times 1/√n.
    assert np.allclose(x.T @ x / len(x), np.eye(5), atol=0.02)
    cross = y.T @ x / len(x)
    assert np.allclose(np.sort(np.linalg.eigvalsh((cross + cross.T) / 2)), [-0.6, 0, 0, 0.5, 0.9], atol=0.02)
    assert np.allclose(found.latents.T @ found.latents / len(x), np.eye(3), atol=0.02)
    bent = latent_views(1000, 5, rho, latents=latents, mixing="tanh", seed=1)
    assert np.abs(bent.x).max() < 2.1


@pytest.mark.parametrize("circular", [True, False])
def test_tokens_have_their_covariance(circular: bool) -> None:
    r, count = 0.7, 6
    found = token_sequences(200_000, count, correlation=r, circular=circular, seed=2)[:, :, 0]
    j = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    expected = r**j if not circular else (r**j + r ** (count - j)) / (1 + r**count)
    assert np.allclose(found.T @ found / len(found), expected, atol=0.02)
    assert token_sequences(3, 4, correlation=0.0, width=2).shape == (3, 4, 2)


@pytest.mark.parametrize("actions", [0, 2])
def test_transitions_are_stationary_and_rotate(actions: int) -> None:
    found = rotating_transitions(200_000, [0.9, 0.5], [0.3, 2.0], actions=actions, seed=3)
    for part in (found.state, found.following):
        assert np.allclose(part.T @ part / len(part), np.eye(4), atol=0.02)
    cross = found.following.T @ found.state / len(found.state)
    assert np.allclose(cross, found.dynamics, atol=0.02)
    assert np.allclose(np.sort(np.abs(np.linalg.eigvals(found.dynamics))), [0.5, 0.5, 0.9, 0.9])
    assert found.actions.shape == (200_000, actions)


def test_the_seed_decides_and_bad_arguments_are_refused() -> None:
    first, second, other = (latent_views(10, 3, [0.5], seed=seed).x for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    for call in (
        lambda: latent_views(0, 3, [0.5]),
        lambda: latent_views(10, 3, [1.5]),
        lambda: latent_views(10, 3, [0.5], latents="cauchy"),
        lambda: latent_views(10, 3, [0.5], mixing="relu"),
        lambda: latent_views(10, 3, [0.5], seed=-1),
        lambda: token_sequences(10, 3, correlation=1.0),
        lambda: rotating_transitions(10, [1.0], [0.0]),
        lambda: rotating_transitions(10, [0.5], [0.0], actions=3),
    ):
        with pytest.raises(InputError):
            call()
