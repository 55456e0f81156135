"""Every experiment at quick scale with its own criteria, and the committed results of the paper scale."""

import functools
import re
from importlib.resources import files

import numpy as np
import pytest
import torch

from jepalign.measurements import COLUMNS, Measurement, load, save
from jepalign.simulations import EXPERIMENTS, conservation, dictionary, run
from jepalign.simulations.backbones import BACKBONES
from jepalign.simulations.data import digit_views
from jepalign.simulations.encoders import DEEP, digit_encoder
from jepalign.simulations.forms import train_forms
from jepalign.simulations.implicit_power import power_run
from jepalign.simulations.objectives import EXPLICIT

NAMES = list(EXPERIMENTS)
# Identities, which must hold to rounding; of the others a claim that fails is a result.
EXACT = ("dictionary", "conservation", "power")


@functools.cache
def quick(name: str) -> Measurement:
    return run(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_verdict_follows_from_its_error(name: str) -> None:
    found = quick(name)
    controls = [row for row in found.rows if "control" in row["experiment"]]
    assert controls
    assert len(controls) < len(found.rows)
    # Claims within their bound, false versions far outside the same bound.
    for row in found.rows:
        held = row["error"] is not None and ((row["error"] >= 1e3) if row in controls else (row["error"] <= 1))
        assert held is (row["verdict"] == "holds") or "diverged" in row["architecture"], row
    assert all(tuple(row) == COLUMNS for row in found.rows)
    assert len({(row["experiment"], row["architecture"]) for row in found.rows}) == len(found.rows)


@pytest.mark.parametrize("name", EXACT)
def test_identities_hold_and_every_false_version_is_refused(name: str) -> None:
    assert [row for row in quick(name).rows if row["verdict"] != "holds"] == []


@pytest.mark.parametrize("name", NAMES)
def test_arrays_are_plain_and_survive_the_file(name: str, tmp_path: object) -> None:
    found = quick(name)
    save(found, str(tmp_path))
    again = load(name, str(tmp_path))
    assert set(again.arrays) == set(found.arrays)
    for key, values in found.arrays.items():
        assert values.dtype.kind in "fiU", key
        if values.dtype.kind == "f" and name in EXACT:
            assert np.isfinite(values).all(), key
        np.testing.assert_array_equal(again.arrays[key], values)
    assert again.rows == found.rows
    assert found.provenance["command"] == f"jepalign simulate {name} --scale quick --out DIR"
    assert found.provenance["seed"] == 0


def test_a_run_is_a_function_of_its_seed_and_touches_no_global_state() -> None:
    first = quick("power")
    torch.manual_seed(12345)
    state, dtype, threads = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
    again, other = run("power"), run("power", seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == dtype
    assert torch.get_num_threads() == threads
    for key, values in first.arrays.items():
        np.testing.assert_array_equal(again.arrays[key], values)
    assert not np.array_equal(first.arrays["observed"], other.arrays["observed"])


def test_progress_counts_up_to_the_end() -> None:
    seen: list[tuple[int, int, str]] = []
    run("power", progress=lambda done, total, message: seen.append((done, total, message)))
    assert [done for done, _, _ in seen] == list(range(seen[0][1] + 1))
    assert len({total for _, total, _ in seen}) == 1
    assert all(message for _, _, message in seen)


def test_power_is_recorded_with_all_its_terms() -> None:
    arrays = quick("power").arrays
    total = arrays["alignment"] + arrays["correction"] + arrays["asymmetry"]
    # One rounding per addition, of terms of order ten.
    np.testing.assert_allclose(total, arrays["predicted"], rtol=0, atol=1e-14)
    optimal = (arrays["predictor"] == "least squares") & (arrays["setting"] == "both orders")
    assert optimal.any()
    assert (np.abs(arrays["observed"] - arrays["alignment"])[optimal] <= arrays["bound"][optimal]).all()
    # A learnt predictor starts far from it: the term is not decoration.
    learnt = arrays["predictor"] == "learnt"
    assert (np.abs(arrays["correction"])[learnt, 0] > 1e3 * arrays["bound"][learnt, 0]).all()


def test_without_a_predictor_the_variance_goes_and_effective_rank_does_not_show_it() -> None:
    """Collapse here is of scale: every direction shrinks, so that a scale-free count of directions is blind to it."""
    arrays = quick("dictionary").arrays
    entry = list(arrays["entry"]).index("no-predictor")
    variance, rank = arrays["variance"][0, entry, 0], arrays["effective_rank"][0, entry, 0]
    assert variance[-1] < 0.1 * variance[0]
    assert rank[-1] > 0.5 * rank[0]


# What is committed: paper scale, by a clean commit, and what this code computes.


@pytest.mark.parametrize("name", NAMES)
def test_committed_results_are_of_paper_scale_and_a_clean_commit(name: str) -> None:
    found = load(name)
    assert found.provenance["command"] == f"jepalign simulate {name} --scale paper --out DIR"
    assert found.provenance["dirty"] is False
    assert len(found.provenance["commit"]) == 40
    # A failure may be committed, but not a verdict that its error does not bear out.
    for row in found.rows:
        if told := re.search(r"\((\d+) members diverged, left out\)", row["architecture"]):
            # An ensemble is judged by its other members: the row has to say how many it lost, and they may be few.
            judged = found.arrays["diverged"][found.arrays["held"] == 1]
            assert int(told[1]) == judged.sum() <= judged.size / 20
        elif "diverged" in row["architecture"]:
            assert row["verdict"] == "fails"
            continue
        bound = row["error"] >= 1e3 if "control" in row["experiment"] else row["error"] <= 1
        assert (row["verdict"] == "holds") == bound
    folder = files("jepalign.simulations") / "measurements"
    assert sum(len((folder / f"{name}.{kind}").read_bytes()) for kind in ("npz", "json")) < 2_000_000


def test_committed_power_is_of_every_backbone() -> None:
    arrays = load("power").arrays
    seen = {
        str(name).removesuffix(", no biases")
        for key in ("architecture", "backbone_architecture")
        for name in arrays[key]
    }
    assert {str(build(0).architecture) for build in BACKBONES.values()} <= seen


# One case of each experiment from its start. The first records are a handful of steps from the same weights on the same
# batches; another BLAS rounds each number differently by N u ≈ 1e-13, which a few steps do not amplify a thousandfold.
SAME = 1e-9


def test_committed_dictionary_is_what_this_code_computes() -> None:
    stored, plan = load("dictionary").arrays, dictionary.SCALES["paper"]
    views = digit_views(device=torch.device("cpu"), seed=0)
    start = digit_encoder(DEEP, plan.activations[0], views, 0)
    for index, name in enumerate(EXPLICIT):
        fresh = train_forms(
            start, views, name, step_size=plan.step_size, batch=plan.batch, records=stored["step"][:1], seed=0
        )
        for key in ("predicted", "observed", "covariance"):
            expected = stored[key][0, index, 0] if key != "covariance" else stored[key][0, index, :, 0]
            seen = fresh[key][0] if key != "covariance" else fresh[key][:, 0]
            np.testing.assert_allclose(seen, expected, rtol=SAME, atol=SAME)


def test_committed_power_is_what_this_code_computes() -> None:
    stored = load("power").arrays
    views = digit_views(device=torch.device("cpu"), seed=0)
    at = next(index for index, name in enumerate(stored["architecture"]) if name.startswith("tanh"))
    setting = str(stored["setting"][at])
    encoder = digit_encoder(DEEP, "tanh", views, 0)
    learnt = bool(stored["predictor"][at] == "learnt")
    fresh = power_run(encoder, views, learnt=learnt, setting=setting, batch=128, records=stored["step"][:3], seed=0)
    for key in ("observed", "predicted", "alignment", "correction", "embedding"):
        np.testing.assert_allclose(fresh[key], stored[key][at, :3], rtol=SAME, atol=SAME)


def test_committed_conservation_is_what_this_code_computes() -> None:
    stored, plan = load("conservation").arrays, conservation.SCALES["paper"]
    views = digit_views(device=torch.device("cpu"), seed=0)
    short = type(plan)(plan.backbones, steps=5)
    case = conservation.cases(plan.backbones)[0]
    fresh = conservation.conservation_run(case, views, short, 0)
    for key in ("predicted", "observed", "quantity"):
        np.testing.assert_allclose(fresh[key], stored[key][0, :5], rtol=SAME, atol=SAME)
