"""The laws that the trajectories of every model obey, whatever solves them; the models are in the catalogue."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given
from linear_models_catalogue import MODELS, TOLERANCE, Array, Model, State, at, solve, velocity
from linear_models_strategies import Drawn, drawn_views, examples, orthogonal

from jepalign.linear_models import DICTIONARY, ImplicitUniformity, LinearJEPA, Status, ViewPair
from jepalign.linear_models.objectives import Descent

EVERY_MODEL = pytest.mark.parametrize("name", MODELS)
SOME_VIEWS = drawn_views(conditions=(0.0, 1.0))
EXCHANGEABLE_VIEWS = drawn_views(conditions=(0.0, 1.0), exchangeable=True)


def suited(name: str, drawn: Drawn) -> bool:
    """Whether the model is defined on these views; the laws draw both kinds, so that each model has its share."""
    return MODELS[name].exchangeable is None or drawn.views.exchangeable


def both_kinds(test: Callable[[str, Drawn], None]) -> Callable[[str, Drawn, Drawn], None]:
    """Run a law on exchangeable views and, for the models that allow it, on others."""

    @EVERY_MODEL
    @given(EXCHANGEABLE_VIEWS, SOME_VIEWS)
    @examples(4)
    def law(name: str, same: Drawn, other: Drawn) -> None:
        test(name, same)
        if suited(name, other):
            test(name, other)

    return law


def differ(a: Mapping[str, Array], b: Mapping[str, Array]) -> float:
    """Return the largest difference between two states, absolute, or relative where they are larger than 1."""
    return max(float(np.abs(a[name] - b[name]).max() / max(1, np.abs(b[name]).max())) for name in b)


@both_kinds
def test_path_begins_at_the_start_and_contains_every_part(name: str, drawn: Drawn) -> None:
    model = MODELS[name]
    objective, start = model.build(drawn.views), model.start(drawn)
    path = solve(objective, start, [0.0, model.horizon / 4])
    assert path.status is Status.FINISHED
    assert differ(at(path, 0, start), start) == 0
    shape = start["encoder"].shape
    assert path.encoder.shape == (2, *shape)
    if isinstance(objective, LinearJEPA):
        assert path.predictor.shape == (2, shape[0], shape[0])
        assert path.target.shape == (2, *shape)
    alone = solve(objective, start, [model.horizon / 4])
    assert differ(at(alone, 0, start), at(path, 1, start)) < TOLERANCE


@both_kinds
def test_restart(name: str, drawn: Drawn) -> None:
    model = MODELS[name]
    objective, start = model.build(drawn.views), model.start(drawn)
    half = model.horizon / 2
    whole = solve(objective, start, [half, 2 * half])
    second = solve(objective, at(whole, 0, start), [half])
    assert differ(at(second, 0, start), at(whole, 1, start)) < TOLERANCE


@both_kinds
def test_path_satisfies_the_equation(name: str, drawn: Drawn) -> None:
    model = MODELS[name]
    objective, start = model.build(drawn.views), model.start(drawn)
    step = 0.01 / model.rate
    middle = model.horizon / 3
    path = solve(objective, start, middle + step * np.arange(-2, 3))
    found = velocity(objective, at(path, 2, start))
    for part in start:
        x = path.states[part]
        # Fourth-order central difference: δ⁴/30 of a fifth derivative, 3e-10 · rate · (constants up to 10³), and the
        # integrator's 1e-9 divided by δ.
        slope = (x[0] - 8 * x[1] + 8 * x[3] - x[4]) / (12 * step)
        assert np.abs(slope - found[part]).max() < 1e-5 * model.rate * max(1, np.abs(found[part]).max())


def determined(name: str) -> bool:
    """Whether the model determines the target encoder or the predictor from the encoder."""
    objective = MODELS[name].build(ViewPair.from_covariances([[1.0]], [[1.0]], [[0.5]]))
    return isinstance(objective, LinearJEPA) and not (objective.learnt and objective.lagging)


@pytest.mark.parametrize("name", [name for name in MODELS if determined(name)])
@given(EXCHANGEABLE_VIEWS)
@examples(4)
def test_determined_parts_are_what_the_model_says(name: str, drawn: Drawn) -> None:
    model = MODELS[name]
    objective, start = model.build(drawn.views), model.start(drawn)
    assert isinstance(objective, LinearJEPA)
    path = solve(objective, start, [0.0, model.horizon / 4])
    if "target" not in start:
        assert np.array_equal(path.target, path.encoder)
    if "predictor" not in start:
        W, V = path.encoder[1], path.target[1]
        phi = W @ drawn.views.context @ W.T
        if objective.predictor is None:
            expected = V @ drawn.views.cross @ W.T @ np.linalg.inv(phi)
        else:
            expected = objective.predictor.matrix(phi)
        # Eigenvalues of Φ are above 1e-3 on these horizons.
        assert np.allclose(path.predictor[1], expected, atol=1e-9 * max(1, np.abs(expected).max()))


@both_kinds
def test_conserved_quantities(name: str, drawn: Drawn) -> None:
    model = MODELS[name]
    objective, start = model.build(drawn.views), model.start(drawn)
    path = solve(objective, start, [0.0, model.horizon / 2, model.horizon])
    assert all(drift < TOLERANCE for drift in path.drift.values())
    if not isinstance(objective, LinearJEPA) or objective.predictor is not None:
        assert not path.drift
        return
    factor = np.exp(-2 * objective.weight_decay * path.times)[:, None, None]
    quantity = path.encoder @ path.encoder.transpose(0, 2, 1)
    if objective.learnt:
        if objective.force == "residual":
            assert not path.drift
            return
        quantity = quantity - path.predictor.transpose(0, 2, 1) @ path.predictor / objective.predictor_rate
    assert list(path.drift) == ["balance" if objective.learnt else "gram"]
    assert np.abs(quantity - factor * quantity[0]).max() < TOLERANCE


@both_kinds
def test_equivariance_under_rotations(name: str, drawn: Drawn) -> None:
    model = MODELS[name]
    start, views = model.start(drawn), drawn.views
    Q, O = orthogonal(drawn.rng, views.dimension), orthogonal(drawn.rng, drawn.width())  # noqa: E741
    turned = ViewPair.from_covariances(*(Q @ part @ Q.T for part in (views.context, views.target, views.cross)))

    def turn(state: State) -> State:
        return {part: O @ value @ (O.T if part == "predictor" else Q.T) for part, value in state.items()}

    path = solve(model.build(views), start, [model.horizon])
    other = solve(model.build(turned), turn(start), [model.horizon])
    assert differ(at(other, 0, start), turn(at(path, 0, start))) < TOLERANCE


DESCENDING = [name for name in MODELS if "U of" in name or name.startswith("spectral")]


@pytest.mark.parametrize("name", DESCENDING)
@given(EXCHANGEABLE_VIEWS)
@examples(5)
def test_energy_of_a_descent_never_rises(name: str, drawn: Drawn) -> None:
    model = MODELS[name]
    objective, start = model.build(drawn.views), model.start(drawn)
    assert isinstance(objective, Descent)
    path = solve(objective, start, np.linspace(0, model.horizon, 15))
    energy = np.array([objective.energy(W) for W in path.encoder])
    # Near rest the energy changes by less than its own rounding, some tens of units of size 1.
    assert (np.diff(energy) < 1e-13).all()
    # and it falls at the rate ‖∇‖², which is what makes it a gradient flow and not just any descent.
    rate = -np.square(velocity(objective, {"encoder": path.encoder[0]})["encoder"]).sum()
    early = solve(objective, start, [1e-4 / model.rate])
    change = (objective.energy(early.encoder[0]) - energy[0]) * 1e4 * model.rate
    assert change == pytest.approx(rate, rel=0.05, abs=1e-6)


NONNEGATIVE = ["spectral-contrastive", "gaussian-infonce", "directpred", "no-predictor"]


@pytest.mark.parametrize("name", NONNEGATIVE)
@given(EXCHANGEABLE_VIEWS)
@examples(5)
def test_byol_form_descends_the_functional_where_the_predictor_is_not_negative(name: str, drawn: Drawn) -> None:
    objective = ImplicitUniformity(drawn.views, predictor=DICTIONARY[name])
    start = Model(LinearJEPA).start(drawn)["encoder"]
    path = LinearJEPA(drawn.views, predictor=DICTIONARY[name]).solve(start, None, np.linspace(0, 4, 9))
    losses = np.array([objective.loss(W) for W in path.encoder])
    assert (np.diff(losses) < 1e-13).all()
    assert losses[-1] < losses[0]


def test_byol_form_climbs_the_functional_where_the_predictor_is_negative() -> None:
    views, entry = ViewPair.from_covariances(np.eye(1), np.eye(1), 0.8 * np.eye(1)), DICTIONARY["log-det"]
    objective, times = ImplicitUniformity(views, predictor=entry), [0.0, 0.01, 10.0]
    path = LinearJEPA(views, predictor=entry).solve([[0.5]], None, times)
    # s = ¼ < 1: g = −3, and the mode falls into the singularity at 0 in finite time.
    assert path.status is Status.STEP_LIMIT
    assert path.times.tolist() == [0.0, 0.01]
    assert objective.loss(path.encoder[1]) > objective.loss(path.encoder[0])
    # The residual form from the same start reaches the optimum g(s) = ρ, s = 5.
    residual = LinearJEPA(views, predictor=entry, force="residual").solve([[0.5]], None, [80.0])
    assert residual.encoder[0, 0, 0] ** 2 == pytest.approx(5, rel=1e-9)


def test_balance_needs_the_predictor_in_the_force() -> None:
    views = ViewPair.from_covariances(np.eye(2), np.eye(2), np.diag([0.9, 0.5]))
    start = 0.5 * np.eye(2)
    gap: list[float] = []
    for force in ("byol", "residual"):
        path = LinearJEPA(views, force=force).solve(start, 0.1 * np.eye(2), [0.0, 3.0])
        quantity = path.encoder @ path.encoder.transpose(0, 2, 1) - path.predictor.transpose(0, 2, 1) @ path.predictor
        gap.append(float(np.abs(quantity[1] - quantity[0]).max()))
    assert gap[0] < 1e-9
    assert gap[1] > 0.1
