"""A diagnosis against what is known of made data: identities, rests put back into the flow, coverage, and the command line."""

import io
import json
import math
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from jepalign.cli import main
from jepalign.diagnosis import Diagnosis, as_json, diagnose
from jepalign.diagnosis.evidence import Basis
from jepalign.diagnosis.gathering import Blocks
from jepalign.diagnosis.modes import State
from jepalign.diagnosis.moments import from_pairs
from jepalign.diagnosis.remedies import TERMS
from jepalign.diagnosis.settings import Settings, flow_rates
from jepalign.diagnosis.spread import interval, spread
from jepalign.diagnosis.text import terminal
from jepalign.errors import InputError
from jepalign.linear_models import Hybrid, LinearJEPA, ViewPair, power_gap
from jepalign.linear_models.collapse import equilibria, rescue_weight
from jepalign.linear_models.forecast import LastLayer, RunSettings, forecast
from jepalign.linear_models.losses.uniformity import uniformity
from jepalign.linear_models.moments import PairMoments
from jepalign.linear_models.uniformity import VarianceHinge

Array = np.ndarray[Any, np.dtype[np.float64]]


def pairs(variance: Array, correlation: Array, rows: int, seed: int) -> tuple[Array, Array, Array]:
    """Return rows whose sample moments are exactly diag(variance) and diag(correlation·variance) in the axes Q, and Q."""
    rng = np.random.default_rng(seed)
    k = len(variance)
    white = np.linalg.qr(rng.normal(size=(rows, 2 * k)) - 0.0)[0] * np.sqrt(rows)
    axes = np.linalg.qr(rng.normal(size=(k, k)))[0]
    first, rest = white[:, :k], white[:, k:]
    second = correlation * first + np.sqrt(1 - correlation**2) * rest
    return (first * np.sqrt(variance)) @ axes.T, (second * np.sqrt(variance)) @ axes.T, axes


def save(folder: Path, name: str = "run.npz", **arrays: Any) -> Path:
    path = folder / name
    np.savez(path, **arrays)
    return path


def states(found: Diagnosis) -> list[State]:
    return list(found.table.states)


# -- what each level knows --------------------------------------------------------------------------------------------------


SIGMA = np.array([1.6, 1.1, 0.9, 0.7, 0.5])
RHO = np.array([0.9, 0.8, 0.6, 0.3, -0.7])
ETA, ALPHA = 0.05, 2.0


def modes_at_rest() -> tuple[Array, Array]:
    """Return w and p of the five modes: at their upper rest, or, beyond the threshold, where they have shrunk to half of λ/2σ."""
    found = equilibria(RHO * SIGMA, SIGMA, ETA, predictor_rate=ALPHA)
    weight = found[:, 2].filled(np.nan)
    p = np.where(np.isnan(weight), RHO / 4, np.sqrt(ALPHA) * weight)
    return np.abs(p) / math.sqrt(ALPHA), p


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("levels")


@pytest.fixture(scope="module")
def levels(folder: Path) -> dict[str, Diagnosis]:
    """The same linear encoder, saved with more and more of what it is."""
    h, h_plus, axes = pairs(SIGMA, RHO, 400, 0)
    w, p = modes_at_rest()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    W, P = (turn * w) @ axes.T, (turn * p) @ turn.T
    rows = {"context": h @ W.T, "target": h_plus @ W.T}
    more = {"predictor": P}
    most = {**more, "encoder": W}
    all_of_it = {**most, "context_features": h, "target_features": h_plus}
    flags = {"weight_decay": ETA, "learning_rate": 0.1, "predictor_learning_rate": 0.1 * ALPHA}
    flags["predictor_weight_decay"] = ETA / ALPHA
    return {
        basis.value: diagnose(save(folder, f"{basis.value}.npz", **rows, **extra), flags)
        for basis, extra in (
            (Basis.REST, {}),
            (Basis.BALANCE, more),
            (Basis.MEASURED, most),
            (Basis.FEATURES, all_of_it),
        )
    }


@pytest.mark.parametrize("basis", list(Basis))
def test_each_level_finds_the_modes_it_can_know(levels: dict[str, Diagnosis], basis: Basis) -> None:
    """Sample moments are exact, so what is left is the bias that is taken off: Σ_j Var/gap ~ 5/400 of a reading at gaps of one s."""
    table = levels[basis.value].table
    assert table.basis is basis
    w, _ = modes_at_rest()
    order = np.argsort(-((RHO * SIGMA) ** 2 / SIGMA if basis is Basis.FEATURES else w**2 * SIGMA))
    np.testing.assert_allclose(table.values.correlation, RHO[order], atol=0.04)
    np.testing.assert_allclose(table.values.embedding, (w**2 * SIGMA)[order], rtol=0.05)
    told = [i for i in range(5) if basis is not Basis.REST or order[i] != 3]
    np.testing.assert_allclose(table.values.variance[told], SIGMA[order][told], rtol=0.12)
    critical = RHO**2 * SIGMA / 4 / ETA
    # A margin has twice the relative error of ρ; the weakest ρ is 0.3 ± 0.04.
    np.testing.assert_allclose(table.values.margin[told], critical[order][told], rtol=0.3)
    lost = states(levels[basis.value])[list(order).index(3)]
    assert lost is (State.UNSETTLED if basis is Basis.REST else State.LOST)
    # Of what is not at rest embeddings alone tell neither λ nor σ nor a margin, and none is made up.
    hidden = np.isnan([table.values.variance, table.values.cross, table.values.margin, table.weight])
    assert hidden.any(axis=0).sum() == hidden.all(axis=0).sum() == (basis is Basis.REST)
    assert levels[basis.value].outlook.rank == 4


def test_only_the_measured_flow_is_a_forecast(levels: dict[str, Diagnosis]) -> None:
    assert all((found.outlook.flow is not None) == (name == "features") for name, found in levels.items())


def test_layers_below_move_the_features_of_a_forecast(folder: Path, levels: dict[str, Diagnosis]) -> None:
    arrays = dict(np.load(folder / "features.npz"))
    flags = {"weight_decay": ETA, "learning_rate": 0.1, "steps": 200}
    path = save(folder, "below.npz", **arrays, below=np.array([0.05, 0.2]), step=100)
    found = diagnose(path, flags)
    assert found.evidence.features is not None
    views = found.evidence.features.views(mean=False)
    layer = LastLayer(views, arrays["encoder"], arrays["predictor"], None, (0.05, 0.2))
    told = forecast(layer, RunSettings(ETA), 10.0)
    assert found.outlook.rank == told.moving_rank
    assert "2 layers below move" in found.outlook.words
    assert "linear" in found.trust
    for wrong in (np.array([-1.0]), np.eye(2), np.full(3, 1e30)):
        with pytest.raises(InputError, match="below"):
            diagnose(save(folder, "wrong.npz", **arrays, below=wrong), flags)


@given(st.floats(0.2, 5.0), st.floats(0.15, 0.99), st.floats(0.3, 3.0), st.floats(0.05, 0.95), st.booleans())
def test_at_rest_variance_and_decay_alone_tell_the_margin(
    sigma: float, rho: float, alpha: float, share: float, negative: bool
) -> None:
    """η_c/η = (1+x)²/(4x), x = αs/η, at the rest that ``equilibria`` finds; x > 1 there and x < 1 at the edge of the basin."""
    cross = -rho * sigma if negative else rho * sigma
    critical = cross**2 / (4 * sigma)
    eta = share * critical
    _, edge, top = equilibria(cross, sigma, eta, predictor_rate=alpha).filled(np.nan)
    for w, above in ((top, True), (edge, False)):
        x = alpha * w * w * sigma / eta
        # p± carry a few units of rounding, and 1 − 1/margin ≥ 0.05 divides them by at most 20.
        assert (1 + x) ** 2 / (4 * x) == pytest.approx(critical / eta, rel=1e-12)
        assert (x > 1) == above


def test_embeddings_alone_do_not_determine_the_margin() -> None:
    """Two modes of one s and one ρ, the first of which survives and the second does not: before rest nothing tells them apart."""
    eta, s, rho = 0.05, 0.3, 0.8
    ends: list[float] = []
    for sigma in (2.0, 0.2):
        views = ViewPair.from_covariances([[sigma]], [[sigma]], [[rho * sigma]])
        w = math.sqrt(s / sigma)
        assert w * w * sigma == pytest.approx(s)
        ends.append(LinearJEPA(views, weight_decay=eta).solve([[w]], [[w]], [0.0, 2000.0]).predictor[-1, 0, 0])
    assert ends[0] > 0.5
    assert abs(ends[1]) < 1e-6


# -- numbers that have another way to be computed ---------------------------------------------------------------------------


def test_powers_and_alignment_are_those_of_the_identity(folder: Path) -> None:
    rng = np.random.default_rng(2)
    z, target, P = rng.normal(size=(50, 4)) + 1, rng.normal(size=(50, 4)), rng.normal(size=(4, 4))
    found = diagnose(save(folder, "power.npz", context=z, target=target, predictor=P))
    gap = power_gap(z, target, P)
    size = np.abs(z).max() ** 2 * np.abs(P).sum() ** 2  # of the largest term that cancels
    assert found.powers.uniformity == pytest.approx(gap.power, abs=1e-13 * size)
    assert found.powers.correction == pytest.approx(gap.correction, abs=1e-13 * size)
    data = as_json(found)
    assert data["alignment"] == pytest.approx(gap.alignment, rel=1e-12)
    assert data["uniformity"] == pytest.approx(
        uniformity(z, z).value, rel=1e-12
    )  # fewer rows than are sampled: all of them


def test_canonical_correlations_and_effective_rank(folder: Path) -> None:
    rng = np.random.default_rng(3)
    z = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) + 5
    target = z @ rng.normal(size=(6, 6)) + rng.normal(size=(300, 6))
    found = diagnose(save(folder, "canonical.npz", context=z, target=target)).spectrum
    # By bases of the samples (Björck & Golub 1973), which no covariance enters.
    first, second = (np.linalg.qr(part - part.mean(axis=0))[0] for part in (z, target))
    np.testing.assert_allclose(found.correlations, np.linalg.svd(first.T @ second, compute_uv=False), atol=1e-10)
    singular = np.linalg.svd(z - z.mean(axis=0), compute_uv=False)
    share = singular**2 / np.sum(singular**2)
    assert found.effective_rank == pytest.approx(np.exp(-np.sum(share * np.log(share))), rel=1e-10)
    # RankMe as it was published: of the embeddings as they are, with 1e-7 in every share.
    singular = np.linalg.svd(z, compute_uv=False)
    share = singular / singular.sum() + 1e-7
    assert found.rankme == pytest.approx(np.exp(-np.sum(share * np.log(share))), rel=1e-10)


def test_friction_is_the_force_of_the_lag(folder: Path) -> None:
    rng = np.random.default_rng(4)
    h, h_plus = rng.normal(size=(80, 5)), rng.normal(size=(80, 5))
    W, V, P = rng.normal(size=(3, 5)), rng.normal(size=(3, 5)), rng.normal(size=(3, 3))
    found = diagnose(
        save(
            folder,
            "friction.npz",
            context=h @ W.T,
            target=h_plus @ V.T,
            predictor=P,
            encoder=W,
            target_encoder=V,
            context_features=h,
            target_features=h_plus,
        )
    )
    lagging = np.mean(np.sum((h @ W.T @ P.T) * (h_plus @ (V - W).T), axis=1))
    assert found.powers.friction == pytest.approx(lagging, rel=1e-10)


@pytest.mark.parametrize("entry", ["spectral-contrastive", "gaussian-infonce", "log-det", "directpred", "no-predictor"])
def test_the_dictionary_recognises_its_own_entries(folder: Path, entry: str) -> None:
    from jepalign.linear_models import DICTIONARY

    variance = np.array([5.0, 2.0, 1.0, 0.4, 0.2])
    z, target, axes = pairs(variance, np.full(5, 0.8), 200, 5)
    P = (axes * DICTIONARY[entry].spectrum(variance / 0.7)) @ axes.T
    reading = diagnose(save(folder, f"{entry}.npz", context=z, target=target, predictor=P)).reading
    assert reading.nearest.name == entry
    # The minimiser stops at 1e-6 of ln τ, around which the distance grows linearly.
    assert reading.nearest.distance < 1e-5
    if entry != "no-predictor":
        assert reading.nearest.scale == pytest.approx(0.7, rel=1e-4)
        # Not so of no predictor, which is InfoNCE's limit of low temperatures.
        assert reading.likenesses[1].distance > 0.02
    # Sample axes of views that are not exchanged differ from Q by the cross-covariances of ``rest``, which are 0.
    assert reading.aligned == pytest.approx(1.0, abs=1e-9)


# -- settings in the theory's time ------------------------------------------------------------------------------------------


@given(
    lr=st.floats(1e-3, 0.1),
    ratio=st.floats(0.1, 10.0),
    wd=st.floats(1e-4, 0.1),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    loss=st.sampled_from(["half", "sum", "mean"]),
    decoupled=st.booleans(),
)
@settings(max_examples=40)
def test_settings_in_flow_time_are_what_an_optimiser_does(
    lr: float, ratio: float, wd: float, momentum: float, loss: str, decoupled: bool
) -> None:
    """Let an optimiser's momentum come to rest under a constant gradient; a step then moves W and P at the rates in flow time."""
    k, g, W, P = 4, 0.7, 1.3, -0.4
    found = flow_rates(
        Settings(
            learning_rate=lr,
            predictor_learning_rate=lr * ratio,
            weight_decay=wd,
            momentum=momentum,
            loss=loss,
            decoupled=decoupled,
        ),
        k,
    )
    scale = {"half": 1.0, "sum": 2.0, "mean": 2.0 / k}[loss]
    assert found.step is not None
    assert found.decay is not None
    assert found.predictor_decay is not None
    for weight, rate, own_lr, decay in (
        (W, 1.0, lr, found.decay),
        (P, found.predictor_rate, lr * ratio, found.predictor_decay),
    ):
        gradient = scale * g + (0.0 if decoupled else wd * weight)
        velocity = gradient * sum(momentum**j for j in range(2000))
        moved = -own_lr * velocity - (own_lr * wd * weight if decoupled else 0.0)
        # Momentum's series is cut where 0.9²⁰⁰⁰ is far below rounding; a few hundred roundings remain.
        assert moved == pytest.approx(found.step * (-rate * g - decay * weight), rel=1e-10)


def test_adam_with_decoupled_decay_needs_the_size_of_the_gradient() -> None:
    blind = flow_rates(Settings(learning_rate=1e-3, weight_decay=0.05, optimizer="adam", decoupled=True), 8)
    assert blind.decay is None
    assert any("gradient_rms" in remark for remark in blind.remarks)
    told = flow_rates(
        Settings(learning_rate=1e-3, weight_decay=0.05, optimizer="adam", decoupled=True, gradient_rms=0.01), 8
    )
    assert told.decay == pytest.approx(0.05 * 0.01)
    assert told.step == pytest.approx(1e-3 / 0.01)


def test_a_predictor_with_a_decay_of_its_own_rests_where_it_is_told() -> None:
    """Thresholds and p± stay, and w² = p²η_P/(αη): put back into the flow of one mode."""
    from jepalign.linear_models.flow import integrate

    sigma, cross, eta, alpha, own = 1.2, 0.9, 0.06, 2.0, 0.2

    def field(state: Any) -> Any:
        w, p = state["w"], state["p"]
        gap = cross - sigma * p
        return {"w": p * gap * w - eta * w, "p": alpha * gap * w * w - own * p}

    end = integrate(field, {"w": np.array([1.0]), "p": np.array([1.0])}, [2000.0]).states
    rates = flow_rates(
        Settings(
            weight_decay=eta, learning_rate=1.0, predictor_learning_rate=alpha, predictor_weight_decay=own / alpha
        ),
        1,
    )
    rest = equilibria(cross, sigma, eta, predictor_rate=rates.rest_rate)[2]
    assert end["w"][-1, 0] == pytest.approx(float(rest), rel=1e-8)
    assert end["p"][-1, 0] == pytest.approx(float(rest) * math.sqrt(rates.rest_rate), rel=1e-8)


def test_without_a_decay_of_the_predictor_nothing_survives(folder: Path, levels: dict[str, Diagnosis]) -> None:
    found = diagnose(folder / "balance.npz", {"weight_decay": ETA, "predictor_weight_decay": 0.0})
    assert found.outlook.rank == 0
    assert "the predictor none" in found.verdict


# -- remedies ---------------------------------------------------------------------------------------------------------------


def test_remedies_hold_what_they_promise(levels: dict[str, Diagnosis]) -> None:
    """Just above the recommended weight every rest of the endangered mode has s > η/α; just below it, one has not."""
    from jepalign.linear_models.collapse import hybrid_equilibria

    found = levels["features"]
    assert [states(found)[i] for i in found.remedies.endangered] == [State.LOST]
    (place,) = found.remedies.endangered
    cross, variance = abs(found.table.values.cross[place]), found.table.values.variance[place]
    terms = {each: term for each, (_, term) in TERMS.items()}
    for remedy in found.remedies.terms:
        told = rescue_weight(cross, variance, ETA, uniformity=terms[remedy.name], predictor_rate=ALPHA)
        assert remedy.repel[0] == pytest.approx(float(told.repel))
        for factor, holds in ((1.001, True), (0.999, False)):
            rests = hybrid_equilibria(
                cross,
                variance,
                ETA,
                uniformity=terms[remedy.name],
                strength=remedy.weight * factor,
                predictor_rate=ALPHA,
            )
            stable = rests.weight[rests.stable.filled(False)].compressed()
            assert bool((variance * stable**2 > ETA / ALPHA).all()) == holds, remedy.name


@pytest.mark.parametrize("name", ["spectral", "log-det", "sigreg"])
def test_a_remedy_works_in_the_flow(levels: dict[str, Diagnosis], name: str) -> None:
    """Put back into the flow of the whole encoder: the recommended weight keeps all five dimensions, without it one is lost.

    Not so the hinge, which sees coordinates, and none of them is without variance: the embedding is turned.
    """
    found = levels["features"].evidence
    assert found.features is not None
    assert found.encoder is not None
    (remedy,) = [each for each in levels["features"].remedies.terms if each.name == name]
    jepa = LinearJEPA(found.features.views(mean=False), predictor_rate=ALPHA, weight_decay=ETA)
    ranks: list[int] = []
    for strength in (0.0, 1.05 * remedy.weight):
        hybrid = Hybrid(jepa, TERMS[name][1], strength)
        # 1/η is 20; the slowest mode, just held, moves at a few per cent of η.
        path = hybrid.solve(found.encoder, found.predictor, [0.0, 3000.0], method="LSODA", rtol=1e-6, atol=1e-9)
        half = path.encoder[-1] @ jepa.views.context_root
        ranks.append(int((np.linalg.svd(half, compute_uv=False) ** 2 > ETA / ALPHA).sum()))
    assert ranks == [4, 5]
    (hinge,) = [each for each in levels["features"].remedies.terms if each.name == "vicreg"]
    assert not hinge.sees


def test_a_hinge_repels_what_is_oblique_to_its_coordinates_at_the_weight_of_now(levels: dict[str, Diagnosis]) -> None:
    """Just beyond ``repel_now`` a small mode along the lost axis grows, and just below it decays, in the flow of W at its present Φ."""
    found = levels["features"]
    assert found.evidence.features is not None
    assert found.evidence.encoder is not None
    views, W = found.evidence.features.views(mean=False), found.evidence.encoder
    (place,), (remedy,) = found.remedies.endangered, [each for each in found.remedies.terms if each.name == "vicreg"]
    u = found.table.axes[:, place]
    # The mode's own part of W, made small; what is left of it does not couple to the others.
    small = W - (1 - 1e-4) * np.outer(u, u @ W)
    for factor, grows in ((1.02, True), (0.98, False)):
        jepa = LinearJEPA(views, predictor_rate=ALPHA, weight_decay=ETA)
        hybrid = Hybrid(jepa, VarianceHinge(), factor * remedy.repel_now)
        P = found.evidence.predictor - np.outer(u, u @ found.evidence.predictor)
        force = hybrid.forces(small, P).total
        assert ((u @ force) @ (u @ small) > 0) == grows


def test_more_decay_loses_more_and_asks_for_more(folder: Path, levels: dict[str, Diagnosis]) -> None:
    ranks, weights = [], []
    for factor in (1.0, 2.0, 3.5):
        found = diagnose(folder / "measured.npz", {"weight_decay": ETA * factor})
        ranks.append(found.outlook.rank)
        weights.append(found.remedies.terms[0].weight)
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[0] > ranks[-1]
    assert weights == sorted(weights)


# -- uncertainty ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["variance", "cross"])
@pytest.mark.parametrize("rows_known", [True, False], ids=["rows", "moments"])
def test_intervals_cover_known_spectra(rows_known: bool, of: Literal["variance", "cross"]) -> None:
    """95 % intervals along eight axes, two pairs of them close: at least 92 % of 8 × 40 eigenvalues are covered, with the bias taken off.

    If each were covered with 0.95 and draws were independent the share would have a standard deviation of 0.01; close pairs are dependent.
    """
    rho = np.array([0.9, 0.8, 0.5, 0.7, 0.6, 0.3, 0.2, 0.1])
    variance = np.array([4.0, 2.0, 1.9, 1.0, 0.6, 0.55, 0.3, 0.1])
    if of == "cross":  # the same λ, other σ: neither order is that of the other
        variance = variance / rho
    truth = variance * (rho if of == "cross" else 1.0)
    rng = np.random.default_rng(7)
    covered = {"eigenvalue": 0, "correlation": 0}
    for _ in range(40):
        first = rng.normal(size=(600, 8))
        second = rho * first + np.sqrt(1 - rho**2) * rng.normal(size=first.shape)
        z, target = first * np.sqrt(variance), second * np.sqrt(variance)
        blocks = Blocks(600, 8)
        blocks.add(z, target)
        drawn = blocks.done()
        moments = from_pairs(blocks.whole)
        context, other, cross = moments.about(mean=True)
        values, axes = np.linalg.eigh((context + other) / 2 if of == "variance" else (cross + cross.T) / 2)
        axes = axes[:, np.argsort(-values)]
        found = spread(moments, drawn if rows_known else None, axes, of=of, kept=np.arange(8), mean=True)
        read = found.replicates
        low, high = interval((read.context + read.target) / 2 if of == "variance" else read.cross)
        covered["eigenvalue"] += int(((low <= truth) & (truth <= high)).sum())
        # Axes of close pairs turn, and a correlation belongs to an axis: it is known of those that are alone.
        low, high = interval(read.correlation)
        covered["correlation"] += int(((low <= rho) & (rho <= high))[[0, 3, 6, 7]].sum())
    assert covered["eigenvalue"] >= 0.92 * 8 * 40
    assert covered["correlation"] >= 0.92 * 4 * 40


def test_sorting_bias_is_what_sorting_adds() -> None:
    """With all variances 1 the largest sample eigenvalue is too large by its bias, on average, to a tenth of it."""
    rng = np.random.default_rng(8)
    variance = np.array([1.5, 1.0, 0.7])
    seen, told = [], []
    for _ in range(300):
        z = rng.normal(size=(100, 3)) * np.sqrt(variance)
        moments = from_pairs(PairMoments(3).update(z, z + 1e-9 * rng.normal(size=z.shape)))
        values, axes = np.linalg.eigh((moments.context + moments.target) / 2)
        axes = axes[:, ::-1]
        told.append(spread(moments, None, axes, of="variance", kept=np.arange(3), mean=False).bias.context)
        seen.append(values[::-1] - variance)
    # The mean of 300 has a standard error of s√(2/100/300) ≈ 0.008 s; the bias of the first is about 0.04.
    np.testing.assert_allclose(np.mean(told, axis=0), np.mean(seen, axis=0), atol=0.025)
    assert np.mean(told, axis=0)[0] > 0.02
    assert np.mean(told, axis=0)[2] < 0


# -- the command line -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str
    folder: Path


@pytest.fixture(scope="module")
def done(folder: Path, levels: dict[str, Diagnosis]) -> Done:
    """The command with all that it writes, once: a page takes seconds."""
    words = ["--weight-decay", str(ETA), "--predictor-weight-decay", str(ETA / ALPHA), "--learning-rate", "0.1"]
    words += ["--predictor-learning-rate", str(0.1 * ALPHA), "--json", "-", "--fail-under-rank", "5"]
    page, out, err = folder / "page", io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["jepalign", "diagnose", str(folder / "balance.npz"), *words, "--out", str(page)])
        with pytest.raises(SystemExit) as end:
            main()
    assert isinstance(end.value.code, int)
    return Done(end.value.code, out.getvalue(), err.getvalue(), page)


def test_the_command_prints_the_verdict_first_and_json_with_the_public_names(done: Done) -> None:
    assert done.code == 1, done.err
    data = json.loads(done.out)
    assert {
        "verdict",
        "surviving_rank",
        "correlation",
        "implicit_uniformity_power",
        "alignment",
        "uniformity",
        "remedies",
    } <= set(data)
    assert data["surviving_rank"] == 4
    assert (done.folder / "diagnosis.html").is_file()
    assert " ".join(done.err.split()).startswith(data["verdict"])
    assert data["correlation"] == sorted(data["correlation"], reverse=True)
    assert {"cross", "variance", "correlation", "state"} <= set(data["dimensions"][0])


def test_the_page_stands_alone(folder: Path, done: Done) -> None:
    out = done.folder
    text = (out / "diagnosis.html").read_text()
    assert "<script" not in text
    assert "data:image/png" in text
    assert 'src="http' not in text
    assert "dimensions survive" in text
    assert {path.name for path in out.iterdir()} >= {"diagnosis.html", "dimensions.pdf", "predictor.png", "keeping.pdf"}
    with np.load(out / "dimensions.npz") as arrays:
        along = np.load(folder / "balance.npz")["context"] @ arrays["axes"]
        # 400 rows whose second moments are exact; what is stored has the bias of sorting, 5/400 at gaps of one s, taken off.
        np.testing.assert_allclose(np.mean(along**2, axis=0), arrays["embedding"], rtol=0.05)
        assert list(arrays["state"]).count("lost") == 1


def test_trust_is_low_where_the_theory_does_not_reach(folder: Path, levels: dict[str, Diagnosis]) -> None:
    assert levels["rest"].trust.startswith("low")
    assert levels["balance"].trust.startswith("moderate")
    assert levels["measured"].trust.startswith("high")
    # One record of features that may still move.
    assert levels["features"].trust.startswith("moderate")
    adam = diagnose(folder / "measured.npz", {"weight_decay": 0.05, "optimizer": "adam"})
    assert "Adam" in adam.trust
    arrays = dict(np.load(folder / "features.npz"))
    fixed = diagnose(save(folder, "identity.npz", **{**arrays, "predictor": np.eye(5)}), {"weight_decay": 0.05})
    assert "identity" in fixed.trust
    biased = diagnose(
        save(folder, "biased.npz", **{**arrays, "context": arrays["context"] + 0.5}), {"weight_decay": 0.05}
    )
    assert "linear last layer" in biased.trust
    bent = diagnose(
        save(folder, "bent.npz", **{**arrays, "prediction": np.tanh(3 * arrays["context"] @ arrays["predictor"].T)}),
        {"weight_decay": 0.05},
    )
    assert "linear predictor" in bent.trust


def test_without_a_weight_decay_it_says_so(folder: Path, levels: dict[str, Diagnosis]) -> None:
    found = diagnose(folder / "rest.npz")
    assert "--weight-decay" in found.verdict
    assert as_json(found)["dimensions"][0]["margin"] is None


def test_the_mean_is_not_a_dimension(folder: Path) -> None:
    z, target, _ = pairs(np.array([1.0, 0.8, 0.5]), np.full(3, 0.9), 200, 9)
    plain = diagnose(save(folder, "plain.npz", context=z, target=target), {"weight_decay": 0.01})
    moved = diagnose(save(folder, "moved.npz", context=z + 30, target=target + 30), {"weight_decay": 0.01})
    assert states(plain).count(State.MEAN) == 0
    assert states(moved).count(State.MEAN) == 1
    assert moved.spectrum.effective_rank == pytest.approx(plain.spectrum.effective_rank, rel=1e-9)
    centred = diagnose(folder / "moved.npz", {"weight_decay": 0.01, "bias": True})
    np.testing.assert_allclose(centred.table.values.embedding, plain.table.values.embedding, rtol=0.02)


def test_a_folder_is_a_run_in_order_of_step(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    for step in (100, 9, 20):
        z = rng.normal(size=(50, 3)) * step
        save(tmp_path, f"a{-step}.npz", context=z, target=z + rng.normal(size=z.shape), step=step)
    (tmp_path / "run.json").write_text('{"weight_decay": 0.1, "steps": 1000, "note": {"any": "thing"}}')
    found = diagnose(tmp_path)
    assert [each.step for each in found.past] == [9, 20, 100]
    assert found.step == 100
    assert found.settings == Settings(weight_decay=0.1, steps=1000)
    assert diagnose(tmp_path, {"weight_decay": 0.2}).settings.weight_decay == 0.2
    assert "at rest" in {each.name for each in found.assumptions if not each.holds}


def test_unknown_settings_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    path = save(tmp_path, "x.npz", context=rng.normal(size=(9, 2)), target=rng.normal(size=(9, 2)))
    (tmp_path / "x.json").write_text('{"weight_decy": 0.1}')
    with pytest.raises(InputError, match="weight_decay"):
        diagnose(path)
    (tmp_path / "x.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="JSON"):
        diagnose(path)


@pytest.mark.parametrize(
    ("shape", "predictor"),
    [("full", "zero"), ("full", "negative"), ("rank one", "none"), ("dead", "nilpotent"), ("tiny", "nilpotent")],
)
def test_degenerate_records_are_diagnosed_without_a_warning(shape: str, predictor: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(12)
    h = rng.normal(size=(40, 6))
    h_plus = h + rng.normal(size=h.shape)
    drawn = rng.normal(size=(4, 6))
    W = {
        "full": drawn,
        "rank one": np.outer(drawn[:, 0], drawn[0]),
        "dead": np.diag([1.0, 1.0, 0.0, 0.0]) @ drawn,
        "tiny": np.diag([1.0, 1e-4, 1e-8, 1e-12]) @ drawn,
    }[shape]
    arrays: dict[str, Any] = {"context": h @ W.T, "target": h_plus @ W.T}
    if predictor != "none":
        arrays["predictor"] = {"zero": np.zeros((4, 4)), "negative": -np.eye(4), "nilpotent": np.eye(4, k=1)}[predictor]
    # A feature that is constant, and one that is absent from one view.
    h[:, 0], h_plus[:, 0], h[:, 1] = 1.0, 1.0, 0.0
    features = {"encoder": W, "context_features": h, "target_features": h_plus}
    flags: list[dict[str, Any]] = [
        {},
        {"weight_decay": 0.0},
        {"weight_decay": 0.1, "predictor_weight_decay": 0.0},
        {"weight_decay": 5.0, "bias": True},
        {"weight_decay": 1e-9},
        {"weight_decay": 0.05, "optimizer": "adam", "decoupled": True},
    ]
    for name, more in (("plain", {}), ("more", features)):
        path = save(tmp_path, f"{name}.npz", **arrays, **more)
        for given_flags in flags:
            found = diagnose(path, given_flags)
            json.dumps(as_json(found), allow_nan=False)
            Console(quiet=True).print(terminal(found))
            assert 0 <= found.outlook.low <= found.outlook.rank <= found.outlook.high <= 4
            if given_flags.get("predictor_weight_decay") == 0.0:
                assert found.outlook.static == 0


# -- somebody's training run ------------------------------------------------------------------------------------------------


def test_a_recorded_run_is_diagnosed_and_ends_as_told(tmp_path: Path) -> None:
    """A linear encoder on digits, recorded in its first tenth: the measured flow tells the rank of its end, and the table its spectrum."""
    import torch

    from jepalign.datasets import digits, two_views
    from jepalign.simulations.encoders import MLP, linear_predictor
    from jepalign.simulations.recording import Recorder
    from jepalign.simulations.training import JEPA, Rates

    x, y = (torch.tensor(view) for view in two_views(digits().images[:400], noise=0.3, mask=0.25, seed=0))
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    encoder, predictor = MLP((64, 8), "linear", seed=0), linear_predictor(8, seed=1)
    rates = Rates(step=0.1, weight_decay=0.04, ema=0.5)
    jepa = JEPA(encoder, predictor, rates)
    total, early = 1500, 150
    given = {"learning_rate": rates.step, "weight_decay": 0.04, "ema_momentum": 1 - 0.05, "steps": total}
    for step in range(total):
        recorder = None
        if step == early - 1:
            recorder = Recorder(
                encoder, predictor, target=jepa.target, out=tmp_path, every=1, window=1, start=step, settings=given
            )
        jepa.step(x, y)
        if recorder is not None:
            recorder.step()
            recorder.close()
    found = diagnose(tmp_path)
    assert found.table.basis is Basis.FEATURES
    with torch.no_grad():
        z = encoder(x).numpy()
    end = np.linalg.eigvalsh(z.T @ z / len(z))[::-1]
    flow = found.outlook.flow
    assert flow is not None
    alive = int((end > flow.floor).sum())
    assert 0 < alive < 8
    assert found.outlook.rank == alive
    # Euler steps of 0.1 against the flow at curvatures of at most about 2: the ends agree to a few hundredths of what is alive.
    np.testing.assert_allclose(flow.flow[:alive], end[:alive], rtol=0.05)
    assert found.step == early
