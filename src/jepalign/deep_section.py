"""The report's section on deep encoders: what the stored measurements say, each number with the file it comes from."""

from collections.abc import Sequence
from typing import Any

from jepalign import document as doc
from jepalign import measurements
from jepalign.measurements import Measurement
from jepalign.simulations import EXPERIMENTS

# Why predictions fail in trained networks, by experiment: the assumption that gives way. No numbers: these are in the tables.
REASONS = {
    "practice": "a moving average of the covariance rings once the step times the curvature passes a quarter of its rate;"
    " an averaged target and sampled negatives turn the subspace.",
    "wiener": "early in training the predictor is not yet a function of the covariance, and networks are still moving at the end.",
    "ablation": "on fixed views deep encoders fit their batch, the two views of which come to agree: the features move.",
    "trajectories": "features move by more than their own size while the last layer learns.",
    "phase": "weight decay shrinks the features, so that the start tells too many survivors; in ReLU encoders the features follow"
    " the rate of the average.",
    "forecast": "features that are taken to stay shrink; taken to move as those of affine layers do, they still shrink too much behind"
    " ReLU; what sampling tells of an interval leaves out how features drift.",
    "lejepa": "features are not centred, and move while they are trained.",
    "hybrid": "modes that share an encoder compete, and SIGReg attracts the mean of features that are not centred.",
    "masks": "weight decay shrinks the features below the last layer; the bound on the rank is not attained where modes couple.",
    "world-model": "a predictor that starts from the identity learns what hardly turns; one encoder diverged.",
    "subspace": "the signature law needs an orthonormal start, and every objective has features of its own.",
    "gaussianity": "embeddings are not Gaussian; the gap is that of the fourth cumulant while it is small.",
    "i-jepa": "at the size that a CPU affords little is learnt, and rank is lost in the features, which the theory takes to stay.",
}


def every_measurement() -> list[Measurement]:
    """Return the stored measurement of every experiment; raise ``InputError`` naming the command that makes a missing one."""
    return [measurements.load(name) for name in EXPERIMENTS]


def tally(found: Sequence[Measurement]) -> tuple[int, int]:
    """Return how many criteria hold, and how many there are."""
    rows = [row for measured in found for row in measured.rows]
    return sum(row["verdict"] == "holds" for row in rows), len(rows)


def experiments_table(found: Sequence[Measurement]) -> doc.Table:
    """Return one row an experiment: what it asks, how many criteria hold, and where it was measured."""
    rows = tuple(
        (
            m.name,
            EXPERIMENTS[m.name].description,
            "{} of {}".format(*tally([m])),
            REASONS.get(m.name, "") if tally([m])[0] < tally([m])[1] else "",
            f"{str(m.provenance.get('commit') or 'unknown')[:10]}, {m.provenance.get('date')}",
        )
        for m in found
    )
    header = ("experiment", "what it asks", "criteria that hold", "where a prediction fails, why", "commit, date")
    devices = ", ".join(sorted({str(m.provenance.get("device")) for m in found}))
    changed = [m.name for m in found if m.provenance.get("dirty")]
    caption = (
        "The experiments on trained networks. Criteria were fixed before the committed run; some rows of *hybrid*, *i-jepa* and *lejepa*"
        " were settled after earlier runs, and so was the rule of *forecast*, judged on architectures that it was not chosen on. False"
        " versions put to the same test count"
        " among them, and hold if they are refused. Each is stored as `NAME.npz` with `NAME.json`, was made by"
        f" `jepalign simulate NAME --scale paper` on {devices}, and is repeated by it."
        + (f" With uncommitted changes: {', '.join(changed)}." if changed else "")
    )
    return doc.Table(header, rows, caption, "tab-experiments")


def criteria_table(found: Sequence[Measurement]) -> doc.Table:
    """Return every group of criteria with the range of its errors."""
    rows = [_group_row(name, group) for measured in found for name, group in _by_experiment(measured.rows)]
    header = ("experiment", "criterion", "networks", "held", "error (least to largest)")
    caption = (
        "Deep encoders against the predictions, from the files of [#tab-experiments]. An error is the deviation in units of its"
        " bound: a criterion holds up to 1. Controls are false versions, which have to exceed the bound by a factor of 1000."
    )
    return doc.Table(header, tuple(rows), caption, "tab-deep")


def _by_experiment(rows: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Group rows by experiment, in order of first appearance."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(str(row["experiment"]), []).append(row)
    return list(groups.items())


def _group_row(name: str, group: list[dict[str, Any]]) -> tuple[str, ...]:
    errors = [float(row["error"]) for row in group if row["error"] is not None]  # a run lost at once has none
    if not errors:
        told = "diverged"
    elif len(errors) == 1:
        told = f"{errors[0]:.2g}"
    else:
        told = f"{min(errors):.2g} to {max(errors):.2g}"
    held = sum(row["verdict"] == "holds" for row in group)
    return (
        _escaped(name),
        _escaped(str(group[0]["criterion"])),
        str(len({row["architecture"] for row in group})),
        f"{held}/{len(group)}",
        told,
    )


def _escaped(text: str) -> str:
    """Protect a stored text from being read as markup."""
    return text if not set(text) & set("$*[`") else f"`{text}`"


def origin(names: Sequence[str]) -> str:
    """Say which stored measurements something was read from, and how they were made; names are those of files."""
    stems = dict.fromkeys(name.partition(".")[0] for name in names)
    if len(stems) > 3:
        return "Measured: the files of [#tab-experiments]."
    return " ".join(f"Measured: `{stem}.npz`, {_provenance(measurements.load(stem).provenance)}." for stem in stems)


def _provenance(made: dict[str, Any]) -> str:
    torch = made.get("versions", {}).get("torch")
    commit = str(made.get("commit") or "unknown")[:10]
    return (
        f"made by `{made.get('command')}`, seed {made.get('seed')}, on {made.get('device')}"
        + (f", PyTorch {torch}" if torch else "")
        + f", commit {commit}{', with uncommitted changes' if made.get('dirty') else ''}, {made.get('date')}"
    )
