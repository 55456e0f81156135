"""Designs put back into the flow: at the settings answered the rank is kept, and just beyond them it is not."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from jepalign.cli import app
from jepalign.design import TERMS, Spectra, check, decay_design, explicit_design, mask_design
from jepalign.design.check import aligned_views
from jepalign.design.masks import Tokens
from jepalign.errors import InputError
from jepalign.linear_models import Hybrid, LinearJEPA, ViewPair

FEW = settings(max_examples=6, deadline=None, derandomize=True, database=None)
# Every threshold in these lists is at least 30 % off the next, so that 5 % beside one there is no other.
MODES = st.lists(st.tuples(st.floats(0.3, 0.95), st.sampled_from((-1, 1)), st.floats(0.5, 2)), min_size=2, max_size=4)


def spectra_of(modes: list[tuple[float, int, float]]) -> Spectra:
    return Spectra(np.array([r * sign * v for r, sign, v in modes]), np.array([v for _, _, v in modes]))


def apart(values: np.ndarray) -> bool:
    ordered = np.sort(values)
    return bool((ordered[1:] > 1.3 * ordered[:-1]).all())


def alive(jepa: LinearJEPA | Hybrid, encoder: np.ndarray, predictor: np.ndarray, end: float, *, level: float) -> int:
    """Return the rank of the embedding after a flow: singular values of W above ``level``."""
    path = jepa.solve(encoder, predictor, [0.0, end], method="DOP853", rtol=1e-7, atol=1e-10)
    return int(np.count_nonzero(np.linalg.svd(path.encoder[-1], compute_uv=False) > level))


@FEW
@given(modes=MODES, rank=st.integers(1, 4), start=st.one_of(st.none(), st.floats(0.05, 0.6)), alpha=st.floats(0.3, 3))
def test_just_below_the_answer_the_rank_survives_and_just_above_it_falls(
    modes: list[tuple[float, int, float]], rank: int, start: float | None, alpha: float
) -> None:
    spectra = spectra_of(modes)
    assume(rank <= len(modes))
    design = decay_design(spectra, rank, start=start, predictor_rate=alpha)
    assume(apart(design.limit))
    found = check(design)
    assert found.holds
    assert (found.rank_below, found.rank_above) == (rank, rank - 1)


@pytest.mark.parametrize("wrong", [2.0, 0.5, 1.2])
def test_another_threshold_is_refused_by_the_same_flow(wrong: float) -> None:
    """The λ²/(2σ) or λ²/(8σ) of a slip, or 20 % more."""
    design = decay_design(Spectra(np.array([0.9, -0.6]), np.array([1.0, 1.5])), 2, start=0.15)
    assert check(design).holds
    assert not check(replace(design, largest=wrong * design.largest)).holds


def test_the_whole_matrix_flow_agrees_mode_by_mode() -> None:
    """Five modes at once, turned in the input and in the embedding: one integration of W and P knows nothing of modes."""
    cross, variance = np.array([0.9, -0.8, 0.5, 0.35, 0.2]), np.array([1.0, 1.5, 0.8, 1.0, 0.7])
    rng = np.random.default_rng(3)
    Q, U = (np.linalg.qr(rng.normal(size=(5, 5)))[0] for _ in range(2))
    flat = aligned_views(cross, variance)
    views = ViewPair.from_covariances(*(Q @ part @ Q.T for part in (flat.context, flat.target, flat.cross)))
    for rank in (2, 4):
        design = decay_design(Spectra(cross, variance), rank)
        begin = np.abs(cross) / variance / 2
        for factor, kept in ((0.95, rank), (1.05, rank - 1)):
            eta = factor * design.largest
            jepa = LinearJEPA(views, weight_decay=eta)
            W, P = U @ np.diag(begin) @ Q.T, U @ np.diag(np.sign(cross) * begin) @ U.T
            assert alive(jepa, W, P, 60 / eta, level=1e-3) == kept


@FEW
@given(modes=MODES, rank=st.integers(1, 4), alpha=st.floats(0.3, 3), share=st.floats(0.3, 0.9))
def test_the_least_start_and_the_least_predictor_rate_are_least(
    modes: list[tuple[float, int, float]], rank: int, alpha: float, share: float
) -> None:
    assume(rank <= len(modes))
    spectra = spectra_of(modes)
    eta = share * decay_design(spectra, rank).largest
    design = decay_design(spectra, rank, weight_decay=eta, predictor_rate=alpha)
    assert design.least_start is not None
    for factor, kept in ((1.001, True), (0.999, False)):
        begun = decay_design(spectra, rank, weight_decay=eta, predictor_rate=alpha, start=factor * design.least_start)
        assert (begun.surviving >= rank) == kept
    some = decay_design(spectra, rank, weight_decay=eta, predictor_rate=alpha, start=0.1)
    assert some.least_rate is not None
    for factor, kept in ((1.001, True), (0.999, False)):
        quick = decay_design(spectra, rank, weight_decay=eta, predictor_rate=factor * some.least_rate, start=0.1)
        assert (quick.surviving >= rank) == kept


def test_the_flow_needs_that_start() -> None:
    spectra, eta, alpha = Spectra(np.array([0.8]), np.array([1.2])), 0.06, 2.0
    least = decay_design(spectra, 1, weight_decay=eta, predictor_rate=alpha).least_start
    assert least is not None
    views = aligned_views(spectra.cross, spectra.variance)
    for factor, kept in ((1.02, 1), (0.98, 0)):
        w = np.array([[factor * least]])
        jepa = LinearJEPA(views, predictor_rate=alpha, weight_decay=eta)
        assert alive(jepa, w, np.sqrt(alpha) * w, 60 / eta, level=1e-3) == kept


def test_survivors_end_at_the_variance_and_pay_the_loss_that_is_told() -> None:
    spectra, alpha = Spectra(np.array([0.9, -0.6]), np.array([1.0, 1.5])), 2.0
    design = decay_design(spectra, 2, weight_decay=0.03, predictor_rate=alpha)
    views = aligned_views(spectra.cross, spectra.variance)
    jepa = LinearJEPA(views, predictor_rate=alpha, weight_decay=0.03)
    path = jepa.solve(np.eye(2) / 2, np.diag([0.7, -0.7]), [0.0, 3000.0], method="DOP853")
    W, P = path.encoder[-1], path.predictor[-1]
    s = np.diag(W @ views.context @ W.T)
    np.testing.assert_allclose(s, design.variance, rtol=1e-8)  # of the integration, whose tolerance is 1e-10 a step
    np.testing.assert_allclose(np.diag(P), design.predictor, rtol=1e-8)
    least = jepa.loss(W, np.diag(spectra.correlation))
    assert jepa.loss(W, P) - least == pytest.approx((design.variance * design.excess).sum() / 2, rel=1e-7)
    # Without decay: the balanced rest W² = λ²/(ασ²).
    still = LinearJEPA(views, predictor_rate=alpha).solve(np.eye(2) / 2, np.diag([1, -1]) / np.sqrt(2), [0.0, 500.0])
    np.testing.assert_allclose(
        np.diag(still.encoder[-1] @ views.context @ still.encoder[-1].T), design.undecayed, rtol=1e-8
    )


def test_rivals_are_modes_that_hold_their_place() -> None:
    """(σ, λ) = (4, 1.56) against (1, 0.9) at η = 0.15: with one dimension the weaker correlation can win."""
    spectra = Spectra(np.array([0.9, 1.56]), np.array([1.0, 4.0]))
    design = decay_design(spectra, 1, weight_decay=0.15, width=1)
    assert design.rivals == ((1, 0),)
    assert decay_design(spectra, 1, weight_decay=0.15).rivals == ()
    views = aligned_views(spectra.cross, spectra.variance)
    jepa = LinearJEPA(views, weight_decay=0.15)
    w = np.sqrt(design.variance[1] / spectra.variance[1])
    path = jepa.solve([[1e-3, w]], [[w]], [0.0, 4000.0], method="LSODA")
    assert abs(path.encoder[-1, 0, 0]) < 1e-4 < abs(path.encoder[-1, 0, 1])


LOST = Spectra(np.array([0.9, 0.5, 0.2]), np.array([1.0, 1.0, 0.7]))


@pytest.mark.parametrize("name", ["spectral", "sigreg", "vicreg"])
def test_the_weight_that_repels_does(name: str) -> None:
    """From a start of 1e-4 every wanted mode leaves 0 beyond the weight; before it, one of them dies."""
    design = explicit_design(decay_design(LOST, 2, weight_decay=0.1), name)
    assert design.lost == (1,)
    views = aligned_views(LOST.cross[:2], LOST.variance[:2])
    start = 1e-4 * np.eye(2)
    for factor, kept in ((1.1, 2), (0.9, 1)):
        # The lost mode by itself decides ``returning``; the survivor starts where it survives.
        W = np.diag([0.6, 1e-4])
        hybrid = Hybrid(LinearJEPA(views, weight_decay=0.1), TERMS[name], factor * design.returning.repel)
        assert alive(hybrid, W, W, 600.0, level=1e-3) == kept
    strong = Hybrid(LinearJEPA(views, weight_decay=0.1), TERMS[name], 1.1 * design.any_start.repel)
    assert alive(strong, start, start, 600.0, level=1e-3) == 2


@pytest.mark.parametrize("name", TERMS)
def test_the_weight_that_holds_does_and_costs_what_is_told(name: str) -> None:
    design = explicit_design(decay_design(LOST, 2, weight_decay=0.1), name)
    views = aligned_views(LOST.cross[:2], LOST.variance[:2])
    W = np.diag([0.6, 1e-3])
    rho = LOST.correlation[:2]
    for strength, held in ((design.strength, True), (0.9 * design.returning.hold, False)):
        hybrid = Hybrid(LinearJEPA(views, weight_decay=0.1), TERMS[name], strength)
        # 1 % beyond η/φ(0) a mode grows at 1 % of η.
        path = hybrid.solve(W, W, [0.0, 20_000.0], method="LSODA", rtol=1e-8, atol=1e-11)
        p = np.diag(path.predictor[-1])
        assert (p[1] >= rho[1] / 2) == held
        if held:
            s = np.diag(path.encoder[-1] @ views.context @ path.encoder[-1].T)
            np.testing.assert_allclose(s, design.variance, rtol=1e-4)
            np.testing.assert_allclose((rho - p) ** 2, design.excess, rtol=1e-3)


@pytest.mark.parametrize("name", ["spectral", "sigreg", "vicreg"])
def test_noise_of_enough_variance_comes_to_life_too(name: str) -> None:
    design = explicit_design(decay_design(LOST, 2, weight_decay=0.1), name)
    for factor, kept in ((1.1, 1), (0.9, 0)):
        views = aligned_views(np.zeros(1), np.array([factor * design.noise]))
        hybrid = Hybrid(LinearJEPA(views, weight_decay=0.1), TERMS[name], design.strength)
        assert alive(hybrid, np.array([[1e-4]]), np.zeros((1, 1)), 600.0, level=1e-3) == kept


def test_what_comes_to_life_beside_the_wanted_is_counted() -> None:
    spectra = Spectra(np.array([0.9, 0.5, 0.2, 0.0]), np.array([1.0, 1.0, 3.0, 0.05]))
    design = explicit_design(decay_design(spectra, 2, weight_decay=0.1), "spectral")
    assert design.uninvited == 1  # σ = 3, not σ = 0.05
    assert 0.05 < design.noise < 3


@pytest.mark.parametrize("target", ["output", "input"])
@pytest.mark.parametrize("blocks", [None, 1, 2])
def test_no_mask_looked_at_keeps_the_rank_against_more(target: Any, blocks: int | None) -> None:
    tokens = Tokens(12, 0.6, target)
    found = mask_design(tokens, 4, blocks=blocks, weight_decay=0.004)
    assert found.best_limit >= found.limit.max()
    best = decay_design(found.best(), 4)
    assert best.largest == pytest.approx(found.best_limit, rel=1e-9)
    # Inside a range the rank survives, outside it does not: counted on the modes of masks that were not looked at.
    rng = np.random.default_rng(0)
    assert found.kept
    for _ in range(40):
        if blocks is None:
            ratio = float(rng.uniform(0.01, 0.99))
            spectra = tokens.independent(ratio)
        else:
            length = int(rng.integers(1, 12))
            assert found.length is not None
            ratio, spectra = float(found.ratio[length - 1]), tokens.blocks(length, blocks)
        inside = any(low <= ratio <= high for low, high in found.kept)
        surviving = decay_design(spectra, 4, weight_decay=0.004).surviving
        assert inside == (surviving >= 4)
        assert surviving <= found.most[0]
    assert found.most[1]


def test_the_ends_of_ranges_are_where_the_rank_is_lost() -> None:
    tokens = Tokens(12, 0.6, "input")
    ((low, high),) = mask_design(tokens, 4, weight_decay=0.02).kept
    for end, inwards in ((low, 1), (high, -1)):
        for step, kept in ((1e-6, True), (-1e-6, False)):
            design = decay_design(tokens.independent(end + inwards * step), 4, weight_decay=0.02)
            assert (design.surviving >= 4) == kept


def test_coupled_modes_are_said_to_be_and_their_estimate_is_near() -> None:
    rng = np.random.default_rng(1)
    Q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    root = np.diag(np.sqrt([2.0, 1.0, 0.6]))
    C = root @ Q @ np.diag([0.9, 0.6, 0.35]) @ Q.T @ root
    spectra = Spectra.from_pair(ViewPair.from_covariances(root**2, root**2, (C + C.T) / 2), "made")
    design = decay_design(spectra, 2)
    bound = spectra.largest_bound(2)
    assert bound is not None
    found = check(design)
    assert found.holds
    assert found.above < (1 + 0.03) * bound
    assert found.rank_below >= 2 > found.rank_above
    # 10 %: what was seen of exchangeable views; the range itself is 2 % wide.
    assert found.below / 1.1 < design.largest < found.above * 1.1


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["design", *arguments])


def test_the_command_answers_in_one_sentence_and_in_json(tmp_path: Path) -> None:
    numbers = ["--variance", "1,1,1", "--cross", "0.9, 0.6, -0.3", "--rank", "2"]
    done = run(*numbers, "--check", "--json", str(tmp_path / "answer.json"), "--out", str(tmp_path / "figure"))
    assert done.exit_code == 0, done.output
    first = " ".join(done.stdout.split("\n\n")[0].split())
    assert first.startswith("Keep the weight decay below 0.09 and 2 of 3 dimensions can survive")
    found = json.loads((tmp_path / "answer.json").read_text())
    assert found["answer"] == first
    assert found["largest_weight_decay"] == pytest.approx(0.09)
    assert found["checked"]["holds"]
    assert [e["term"] for e in found["explicit"]] == list(TERMS)
    assert found["modes"]["embedding_variance"][2] is None  # lost: no number, and JSON has no NaN
    names = sorted(p.name for p in (tmp_path / "figure").iterdir())
    assert names == ["design.csv", "design.pdf", "design.png", "design.tex"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--variance", "1,1", "--cross", "0.9,0.6", "--rank", "2", "--weight-decay", "0.2"],
            "leaves at most 1 of 2 dimensions",
        ),
        (["--variance", "1,1", "--cross", "0.9,0.6", "--rank", "2", "--start", "0.1"], "from modes that start at 0.1"),
        (["--variance", "1,1", "--cross", "0.9,0.6", "--rank", "1", "--weight-decay", "0"], "from any start but 0"),
        (["--tokens", "8", "--token-correlation", "0.5", "--rank", "3"], "the least, 0.001"),
        (
            ["--tokens", "8", "--token-correlation", "0.5", "--rank", "3", "--target", "input", "--blocks", "2"],
            "2 blocks",
        ),
        (["--tokens", "8", "--token-correlation", "0.5", "--rank", "3", "--mask-ratio", "0.6"], "0.6 of them hidden"),
        (
            ["--tokens", "8", "--token-correlation", "0.5", "--rank", "3", "--line", "--block-length", "2"],
            "below about",
        ),
    ],
)
def test_what_is_asked_is_answered(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert said in " ".join(done.stdout.split())


def test_files_give_the_same_answer_as_numbers(tmp_path: Path) -> None:
    cross, variance = [0.9, 0.6, -0.3], [1.0, 2.0, 0.5]
    np.savez(tmp_path / "modes.npz", cross=cross, variance=variance)
    with (tmp_path / "modes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("variance", "note", "cross"), *((v, "x", c) for v, c in zip(variance, cross, strict=True))])
    expected = Spectra.from_text("1,2,0.5", "0.9,0.6,-0.3")
    for name in ("modes.npz", "modes.csv"):
        found = Spectra.from_file(tmp_path / name)
        assert np.array_equal(found.cross, expected.cross)
        assert np.array_equal(found.variance, expected.variance)


def test_views_are_read_in_both_orders(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(400, 3)) * [2.0, 1.0, 0.5]
    x, y = (signal + 0.3 * rng.normal(size=signal.shape) for _ in range(2))
    np.savez(tmp_path / "views.npz", context=x, target=y)
    found = Spectra.from_views(tmp_path / "views.npz")
    swapped = Spectra.from_pair(ViewPair.from_samples(y, x, symmetrize=True), "swapped")
    np.testing.assert_allclose(found.cross, swapped.cross, rtol=1e-12)
    assert found.bound is not None
    assert decay_design(found, 3).largest <= (found.largest_bound(3) or 0)


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (["--rank", "1"], "error: data = nothing"),
        (["--rank", "1", "--variance", "1", "--tokens", "4"], "error: data = variance and tokens"),
        (["--rank", "1", "--variance", "1"], "error: cross = None"),
        (["--rank", "1", "--variance", "1,x", "--cross", "1,1"], "error: variance = 'x'"),
        (
            ["--rank", "1", "--variance", "1,__import__('os')", "--cross", "1,1"],
            "error: variance = \"__import__('os')\"",
        ),
        (["--rank", "2", "--variance", "1,1", "--cross", "0.5,0"], "error: rank = 2: must be at most 1"),
        (["--rank", "1", "--variance", "1,1", "--cross", "0.5"], "error: cross = 1 values beside 2"),
        (["--rank", "1", "--variance", "-1", "--cross", "0.5"], "error: variance = -1.0"),
        (["--rank", "1", "--variance", "1", "--cross", "nan"], "error: cross = nan"),
        (
            ["--rank", "1", "--variance", "1", "--cross", "0.5", "--uniformity", "barlow"],
            "error: uniformity = 'barlow'",
        ),
        (["--rank", "1", "--variance", "1", "--cross", "0.5", "--mask-ratio", "0.5"], "error: mask_ratio = 0.5"),
        (["--rank", "1", "--variance", "1", "--cross", "0.5", "--start", "0"], "error: start = 0.0"),
        (["--rank", "2", "--variance", "1,1", "--cross", "0.5,0.4", "--width", "1"], "error: width = 1"),
        (["--rank", "1", "--spectra", "nowhere.npz"], "error: spectra = nowhere.npz: must be a file"),
        (["--rank", "1", "--spectra", "modes.txt"], "error: spectra = modes.txt: must be an .npz or .csv"),
        (["--rank", "1", "--tokens", "8"], "error: token_correlation = None"),
        (["--rank", "1", "--tokens", "8", "--token-correlation", "1"], "error: token_correlation = 1.0"),
        (["--rank", "9", "--tokens", "8", "--token-correlation", "0.5"], "error: rank = 9"),
        (["--rank", "1", "--tokens", "8", "--token-correlation", "0.5", "--target", "both"], "error: target = 'both'"),
        (
            ["--rank", "1", "--tokens", "8", "--token-correlation", "0.5", "--block-length", "8"],
            "error: block_length = 8",
        ),
        (
            ["--rank", "1", "--tokens", "8", "--token-correlation", "0.5", "--mask-ratio", "1"],
            "error: mask_ratio = 1.0",
        ),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], start: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, InputError)
    assert f"error: {result.exception}".startswith(start)
    assert "\n" not in str(result.exception)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npz", b"not a zip"),
        ("a.npz", b""),
        ("a.csv", b"variance,cross\n1,zero\n"),
        ("a.csv", b"variance,cross\n1\n"),
        ("a.csv", b"sigma,lambda\n1,1\n"),
        ("a.csv", b""),
        ("a.csv", b"variance,cross\n\xff\xfe,1\n"),
    ],
)
def test_a_damaged_file_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError):
        Spectra.from_file(tmp_path / name)


def test_pickles_are_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", variance=np.array([1.0]), cross=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="plain arrays"):
        Spectra.from_file(tmp_path / "a.npz")
