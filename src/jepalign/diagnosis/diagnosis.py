"""From the files of a run to a diagnosis: every part of it, in the order in which it is told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jepalign.diagnosis.assumptions import Assumption, assumptions, trust
from jepalign.diagnosis.evidence import Evidence, read_evidence
from jepalign.diagnosis.modes import ModeTable, mode_table
from jepalign.diagnosis.moments import Moments
from jepalign.diagnosis.outlook import Outlook, outlook
from jepalign.diagnosis.powers import Powers, powers
from jepalign.diagnosis.reading import PredictorReading, read_predictor
from jepalign.diagnosis.records import open_run
from jepalign.diagnosis.remedies import Remedies, remedies
from jepalign.diagnosis.settings import FlowRates, Settings, flow_rates, why_not_below
from jepalign.diagnosis.stored import Array
from jepalign.diagnosis.verdict import verdict
from jepalign.linear_models.canonical import pairs_of
from jepalign.linear_models.forecast.baselines import effective_rank, rankme

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What is known of an embedding without any theory.

    Attributes
    ----------
    variances : ndarray of shape (k,)
        Eigenvalues of Cov(z), descending.
    effective_rank : float
        exp of the entropy of these eigenvalues, normalised (Roy & Vetterli 2007): of embeddings about their mean.
    rankme : float
        exp of the entropy of the normalised singular values of the embeddings as they are, mean included (Garrido et al. 2023).
    correlations : ndarray of shape (k,)
        Canonical correlations of z and z̄, descending; shrunk if rows are fewer than 2k.
    shrinkage : float
        How much was shrunk; 0 for none.
    """

    variances: Array
    effective_rank: float
    rankme: float
    correlations: Array
    shrinkage: float


def spectrum(moments: Moments) -> Spectrum:
    """Return the spectrum of moments."""
    shrinkage = moments.shrinkage()
    context, target, cross = moments.covariances()
    variances = np.maximum(np.linalg.eigvalsh(context), 0.0)[::-1]
    found = pairs_of(context, target, cross).correlation
    correlations = np.concatenate((found, np.zeros(moments.width - len(found))))
    as_they_are = np.maximum(np.linalg.eigvalsh(moments.context), 0.0)
    return Spectrum(variances, float(effective_rank(variances)), float(rankme(as_they_are)), correlations, shrinkage)


@dataclass(frozen=True, eq=False)
class Past:
    """A record before the last: step, effective rank, alignment, uniformity and implicit power, all of that record."""

    name: str
    step: int | None
    effective_rank: float
    alignment: float
    uniformity: float | None
    power: float


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """A run, diagnosed at its last record.

    Attributes
    ----------
    source : str
        The file's name.
    step : int or None
        The step of the record.
    settings, rates :
        As given, and in the theory's time.
    evidence, spectrum, table, reading, powers, outlook, remedies, assumptions :
        See the classes.
    trust : str
        How much the forecast is worth.
    past : tuple of Past
        Records in order of step, the last one included; empty if there is only that.
    verdict : str
        One sentence.
    """

    source: str
    step: int | None
    settings: Settings
    rates: FlowRates
    evidence: Evidence
    spectrum: Spectrum
    table: ModeTable
    reading: PredictorReading
    powers: Powers
    outlook: Outlook
    remedies: Remedies
    assumptions: tuple[Assumption, ...]
    trust: str
    past: tuple[Past, ...]
    verdict: str


def diagnose(
    path: Path,
    flags: Mapping[str, Any] | None = None,
    *,
    drop_nonfinite: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Diagnosis:
    """Diagnose a file or a folder: the last record in full, those before it in a line each.

    Parameters
    ----------
    path : Path
        A .npz, .npy, .safetensors or .pt file, or a folder; see ``jepalign diagnose --help`` for what is in them.
    flags : mapping of str to value, optional
        Settings that win over those of the JSON beside it.
    drop_nonfinite : bool
        Leave out rows with NaN or infinity instead of refusing them.
    seed : int
        Of the bootstrap and of the rows that uniformity is estimated from.
    progress : callable, optional
        Called with (records done, records in all, message).

    Raises
    ------
    InputError
        For files that are missing, damaged, malicious, of contradicting shapes or without variance, and for settings out of range.
    """
    settings = Settings.read(path, flags or {})
    run = open_run(path)
    past: list[Past] = []
    evidence: Evidence | None = None
    before: Evidence | None = None
    for done, record in enumerate(run):
        if progress is not None:
            progress(done, len(run), record.path.name)
        before = evidence
        evidence = read_evidence(record, bias=settings.bias, drop_nonfinite=drop_nonfinite, seed=seed)
        if len(run) > 1:
            past.append(_past(record.path.name, record.step, evidence, bias=settings.bias))
    assert evidence is not None
    last = run[-1]
    rates = flow_rates(settings, evidence.embeddings.width)
    table = mode_table(evidence, rates, bias=settings.bias, seed=seed)
    reading = read_predictor(evidence, bias=settings.bias)
    told = outlook(evidence, table, settings, rates, last.step, why_not_below(path))
    saving = remedies(evidence, table, rates, together=told.static - told.rank)
    assumed = assumptions(evidence, before, settings, rates, reading)
    return Diagnosis(
        path.resolve().name,
        last.step,
        settings,
        rates,
        evidence,
        spectrum(evidence.embeddings),
        table,
        reading,
        powers(evidence, bias=settings.bias),
        told,
        saving,
        assumed,
        trust(assumed, evidence, settings, by_flow=told.by_flow, moved=told.moved, affine=told.affine),
        tuple(past),
        verdict(table, told, saving, rates),
    )


def _past(name: str, step: int | None, evidence: Evidence, *, bias: bool) -> Past:
    return Past(
        name,
        step,
        spectrum(evidence.embeddings).effective_rank,
        evidence.embeddings.alignment,
        evidence.uniformity,
        powers(evidence, bias=bias).uniformity,
    )


def as_json(found: Diagnosis) -> dict[str, Any]:
    """Return a diagnosis as plain data: numbers that are not finite are None, arrays are lists."""
    table = found.table
    names = {"embedding": "embedding_variance"}
    bounds = table.intervals()
    dimensions: list[dict[str, Any]] = []
    for i, state in enumerate(table.states):
        entry: dict[str, Any] = {"state": state.value}
        for name, values in table.values.items().items():
            entry[names.get(name, name)] = values[i]
            entry[f"{names.get(name, name)}_interval"] = [bounds[name][0][i], bounds[name][1][i]]
        entry |= {"predictor": table.predictor[i], "weight": table.weight[i], "target_weight": table.target_weight[i]}
        entry |= {"sorting_bias": table.uncertainty.bias.context[i], "turn": table.uncertainty.turn[i]}
        dimensions.append(entry)
    terms = [
        {
            "name": each.name,
            "formula": each.formula,
            "repel": each.repel,
            "rescue": each.rescue,
            "hold": each.hold,
            "repel_now": each.repel_now,
            "weight": each.weight,
            "weight_as_trained": each.as_trained,
            "cost": each.cost,
        }
        for each in found.remedies.terms
    ]
    evidence = found.evidence
    return _plain(
        {
            "verdict": found.verdict,
            "source": found.source,
            "step": found.step,
            "rows": evidence.embeddings.count,
            "rows_dropped": evidence.dropped,
            "rows_repeated": evidence.repeated,
            "surviving_rank": found.outlook.rank,
            "surviving_rank_interval": [found.outlook.low, found.outlook.high],
            "surviving_rank_errors": vars(found.outlook.precedent) if found.outlook.precedent else None,
            "surviving_rank_errors_unknown": found.outlook.why_none,
            "rank_now": found.outlook.now,
            "surviving_rank_static": found.outlook.static,
            "surviving_rank_staying": found.outlook.staying,
            "surviving_rank_method": found.outlook.words,
            "told_spectrum": found.outlook.told,
            "trust": found.trust,
            "basis": table.basis.value,
            "effective_rank": found.spectrum.effective_rank,
            "rankme": found.spectrum.rankme,
            "spectrum": found.spectrum.variances,
            "correlation": found.spectrum.correlations,
            "shrinkage": found.spectrum.shrinkage,
            "alignment": evidence.embeddings.alignment,
            "uniformity": evidence.uniformity,
            "implicit_uniformity_power": found.powers.uniformity,
            "powers": vars(found.powers),
            "predictor": {
                "source": evidence.predictor_source.value,
                "nearest": found.reading.nearest.name,
                "entries": [vars(each) for each in found.reading.likenesses],
                "aligned": found.reading.aligned,
                "distance_to_correlation": found.reading.to_correlation,
            },
            "dimensions": dimensions,
            "remedies": {
                "endangered": found.remedies.endangered,
                "terms": terms,
                "weight_decay": found.remedies.weight_decay,
                "why_none": found.remedies.why_none,
            },
            "assumptions": [{**vars(each), "holds": each.holds} for each in found.assumptions],
            "settings": vars(found.settings),
            "flow": {**vars(found.rates), "rest_rate": found.rates.rest_rate},
            "past": [vars(each) for each in found.past],
        }
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
