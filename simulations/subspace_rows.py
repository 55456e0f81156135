"""Criteria and rows of the subspace experiment, fixed before the run."""

import numpy as np

from jepalign.simulations.results import REFUSAL, Row, Series, row
from jepalign.simulations.view_losses import VIEW_LOSSES

OBJECTIVES = ("JEPA", *VIEW_LOSSES)
LATENT_OBJECTIVES = ("JEPA", "JEPA, both signs", *(name for name in VIEW_LOSSES if "published" not in name))
ANGLE, SAMPLED = 0.05, 0.15
RISK, PROBE, R2 = 0.01, 0.05, 0.1
SIZE, ALIVE, EDGE = 0.02, 1e-3, 0.1
SHARED, ACCURACY, KEPT, LEFT = 0.8, 0.03, 0.9, 0.1

CRITERIA = {
    "angle": f"the largest principal angle to the predicted subspace ≤ {ANGLE:g} rad ({SAMPLED:g} for InfoNCE, whose batch is Gaussian"
    " in law only); error is the ratio",
    "pair": f"the largest principal angle between the two ≤ {ANGLE:g} rad; error is the ratio",
    "risk": f"the risk of linear probes for all latents within {RISK:g} of the predicted subspace's, relatively; error is the ratio",
    "cost": "the loss reached is below that of descent within the leading subspace, which is then not the optimum; error is the ratio",
    "probe": f"on held-out samples |risk − (1 − ρ_i, or 1 beyond k)| ≤ {PROBE:g} for every latent; error is the ratio",
    "signature": f"from every random start the angle to the subspace of K(0)'s positive inertia ≤ {ANGLE:g} rad; error is the ratio",
    "survivors": f"a mode survives (w² > {ALIVE:g}) iff predicted, but for those within {EDGE:g} of the threshold: no exception; error is"
    " twice their number",
    "size": f"|w² − predicted| ≤ {SIZE:g} but for modes within {EDGE:g} of the threshold; error is the ratio",
    "latents": f"held-out R² of every latent from the embedding of a tanh network within {R2:g} of |ρ_i|, or of 0 for those not kept;"
    " error is the ratio",
    "anticorrelated": "R² of anticorrelated latents, ρ < −½, averaged: at least ½|ρ| kept, at most 0.05 dropped; error is the ratio",
    "shared": f"mean square canonical correlation with spectral contrastive's embedding on held-out digits ≥ {SHARED:g}; error is the"
    " missing part by the allowed one",
    "accuracy": f"accuracy of a linear probe within {ACCURACY:g} of spectral contrastive's; error is the ratio",
    "features": f"the features below do not collapse: their variance at the end ≥ {LEFT:g} of that at the start (theorems hold them"
    " frozen); error is the ratio",
    "kept": f"the embedding keeps ≥ {KEPT:g} of Σρ² of the k leading canonical directions of its own features; error is the missing part"
    " by the allowed one",
}


def one(predicted: float, observed: float, error: float) -> Series:
    """Return a series of one record."""
    return Series(np.array([predicted]), np.array([observed]), np.array([error]))


def refused(name: str, place: str, series: Series, *, most: float = 10.0) -> Row:
    """Return the row of a control, whose worst record must miss the claim's bound ``most``-fold."""
    criterion = f"a false version put to the same test must miss its bound {most:g}-fold; error is {REFUSAL:g} there"
    return row(name, place, series._replace(error=series.error / most * REFUSAL), criterion=criterion, at_least=REFUSAL)


def linear_rows(views: str, run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of linear encoders on one pair of views."""
    rows: list[Row] = []
    for index, name in enumerate(OBJECTIVES):
        place = f"linear, {name}; {views} views"
        angle, bound = run["angle"][index], SAMPLED if name == "InfoNCE" else ANGLE
        rows.append(
            row(
                "subspace: leading canonical subspace", place, one(0, angle, angle / bound), criterion=CRITERIA["angle"]
            )
        )
        if index > 0:
            apart = run["pairwise"][0, index]
            rows.append(
                row("subspace: the JEPA's subspace", place, one(0, apart, apart / bound), criterion=CRITERIA["pair"])
            )
        risk, expected = run["risk"][index], float(run["risk_predicted"])
        series = one(expected, risk, abs(risk / expected - 1) / RISK)
        rows.append(row("subspace: probe risk", place, series, criterion=CRITERIA["risk"]))
    for index, name in enumerate(OBJECTIVES):
        if "published" in name:
            found, inside = run["loss"][:, index - 1]
            place = f"linear, {name}; {views} views"
            series = one(float(inside), float(found), float(found / inside))
            rows.append(row("subspace: leading subspace costs more", place, series, criterion=CRITERIA["cost"]))
    place = f"linear, Barlow Twins, covariance form; {views} views"
    large = float(run["large_start_angle"])
    rows.append(refused("subspace: control, not from a small start", place, one(0, large, large / ANGLE), most=5.0))
    wrong = float(run["wrong_angle"])
    rows.append(
        refused(
            "subspace: control, eigenvectors 2 to k + 1", f"linear, JEPA; {views} views", one(0, wrong, wrong / ANGLE)
        )
    )
    return rows


def probe_rows(run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of 6.2 on held-out samples."""
    expected = run["latent_risk_predicted"]
    rows: list[Row] = []
    for index, name in enumerate(OBJECTIVES):
        seen = run["latent_risk"][index]
        series = Series(expected, seen, np.abs(seen - expected) / PROBE)
        place = f"linear, {name}; positive views"
        rows.append(row("subspace: held-out probe risk of each latent", place, series, criterion=CRITERIA["probe"]))
    false = np.full_like(expected, expected.mean())
    series = Series(false, run["latent_risk"][0], np.abs(run["latent_risk"][0] - false) / PROBE)
    place = "linear, JEPA; positive views"
    rows.append(refused("subspace: control, one risk for all latents", place, series, most=5.0))
    return rows


def signature_rows(run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of the signature law and of a JEPA that starts on both sides."""
    angles, others = run["signature_angle"], run["other_angle"].min()
    place = f"linear, least-squares predictor, {len(angles)} orthonormal starts; indefinite views"
    series = Series(np.zeros(len(angles)), angles, angles / ANGLE)
    rows = [
        row("subspace: signature law", place, series, criterion=CRITERIA["signature"]),
        refused("subspace: control, another inertia", place, one(0, others, others / ANGLE)),
    ]
    # With WWᵀ ≠ I the inertia of the predictor may change on the way: what the law's assumption is for.
    angles = run["random_signature_angle"]
    wrong = int((angles > ANGLE).sum())
    place = f"linear, least-squares predictor, {len(angles)} starts not orthonormal, {wrong} end elsewhere; indefinite views"
    series = Series(np.zeros(len(angles)), angles, angles / ANGLE)
    rows.append(row("subspace: signature law, its assumption broken", place, series, criterion=CRITERIA["signature"]))
    place = "linear, JEPA, both signs; indefinite views"
    angle, false = run["both_signs_angle"][0], run["both_signs_contrastive_angle"][0]
    rows.append(
        row(
            "subspace: modes on the predictor's sides", place, one(0, angle, angle / ANGLE), criterion=CRITERIA["angle"]
        )
    )
    rows.append(refused("subspace: control, the contrastive subspace", place, one(0, false, false / ANGLE)))
    return rows


def decay_rows(run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of survival under weight decay, of either sign and of spectral contrastive."""
    spectrum, decay = run["decay_spectrum"], run["weight_decay"][:, None]
    clear = np.abs(spectrum**2 / (4 * decay) - 1) > EDGE
    contrast_clear = np.abs(spectrum / decay - 1) > EDGE
    rows: list[Row] = []

    def judged(place: str, key: str, chosen: np.ndarray) -> None:
        expected, seen = run[f"{key}_predicted"][chosen], run[f"{key}_moment"][chosen]
        wrong = int(((expected > 0) != (seen > ALIVE)).sum())
        series = one(float((expected > 0).sum()), float((seen > ALIVE).sum()), 2.0 * wrong)
        rows.append(row("subspace: survivors of weight decay", place, series, criterion=CRITERIA["survivors"]))
        size = Series(expected, seen, np.abs(seen - expected) / SIZE)
        rows.append(row("subspace: size of the survivors", place, size, criterion=CRITERIA["size"]))

    judged("linear, JEPA; λ > 0", "jepa", clear & (spectrum > 0))
    judged("linear, JEPA; λ < 0", "jepa", clear & (spectrum < 0))
    judged("linear, spectral contrastive", "spectral", contrast_clear & np.ones_like(clear))
    false = run["spectral_predicted"][clear] > 0
    wrong = int((false != (run["jepa_moment"][clear] > ALIVE)).sum())
    series = one(float(false.sum()), float((run["jepa_moment"][clear] > ALIVE).sum()), 2.0 * wrong)
    rows.append(refused("subspace: control, spectral contrastive's survivors", "linear, JEPA", series))
    return rows


def latent_rows(run: dict[str, np.ndarray], correlations: np.ndarray) -> list[Row]:
    """Return the rows of tanh encoders of latents: which latents they keep."""
    order = np.argsort(-correlations)
    rows: list[Row] = []
    negative = correlations < -0.5
    for index, name in enumerate(LATENT_OBJECTIVES):
        both = "both signs" in name
        kept = np.concatenate((order[:2], order[-2:])) if both else order[:4]
        expected = np.zeros(len(correlations))
        expected[kept] = np.abs(correlations[kept])
        seen = run["deep_latents"][index]
        place = f"tanh 10-64-4, {name}; indefinite views"
        series = Series(expected, seen, np.abs(seen - expected) / R2)
        rows.append(row("subspace: latents kept", place, series, criterion=CRITERIA["latents"]))
        mean = float(seen[negative].mean())
        if both:
            least = float(np.abs(correlations[negative]).mean()) / 2
            series = one(2 * least, mean, least / max(mean, 1e-12))
        else:
            series = one(0, mean, abs(mean) / 0.05)
        rows.append(row("subspace: anticorrelated latents", place, series, criterion=CRITERIA["anticorrelated"]))
    return rows


def deep_rows(architecture: str, run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of one deep architecture on digits, each objective beside spectral contrastive."""
    reference = OBJECTIVES.index("spectral contrastive")
    rows: list[Row] = []
    for index, name in enumerate(OBJECTIVES):
        place = f"{architecture}, {name}; digits"
        kept = float(run["kept"][index])
        rows.append(
            row(
                "subspace: own leading features",
                place,
                one(1, kept, (1 - kept) / (1 - KEPT)),
                criterion=CRITERIA["kept"],
            )
        )
        left = float(run["features"][index])
        series = one(1, left, LEFT / max(left, 1e-12))
        rows.append(row("subspace: features below", place, series, criterion=CRITERIA["features"]))
        if index == reference:
            continue
        shared = float((run["canonical"][index, reference] + run["canonical"][reference, index]) / 2)
        series = one(1, shared, (1 - shared) / (1 - SHARED))
        rows.append(row("subspace: shared with spectral contrastive", place, series, criterion=CRITERIA["shared"]))
        seen, expected = float(run["accuracy"][index]), float(run["accuracy"][reference])
        series = one(expected, seen, abs(seen - expected) / ACCURACY)
        rows.append(row("subspace: accuracy of a linear probe", place, series, criterion=CRITERIA["accuracy"]))
    shuffled = float(run["shuffled"])
    series = one(1, shuffled, (1 - shuffled) / (1 - SHARED))
    rows.append(refused("subspace: control, digits shuffled", f"{architecture}, JEPA; digits", series, most=4.0))
    return rows
