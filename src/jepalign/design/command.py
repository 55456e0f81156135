"""From what the command line was given to an answer and a figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jepalign.design.check import check
from jepalign.design.decay import decay_design
from jepalign.design.explicit import TERMS, explicit_design
from jepalign.design.masks import MaskDesign, Target, Tokens, mask_design
from jepalign.design.spectra import Spectra
from jepalign.design.statement import Answer
from jepalign.errors import InputError

SHARES = (0.25, 0.5, 0.75, 0.9)
"""Shares of hidden tokens whose ranks are drawn."""
MASK_ROLES = ("attraction", "repulsion", "whitened")


@dataclass(frozen=True)
class Question:
    """What was asked on the command line; one of the four kinds of data.

    Attributes
    ----------
    rank : int
        K.
    variance, cross : str or None
        Numbers, separated by commas.
    spectra, views : Path or None
        Files.
    tokens, token_correlation, target, line : int or None, float or None, str, bool
        Masked tokens.
    mask_ratio, block_length, blocks : float or None, int or None, int
        The mask, or None: the one that keeps the most.
    weight_decay, predictor_rate, start, width : float or None, float, float or None, int or None
        As in ``decay_design``.
    uniformity : sequence of str
        Explicit terms; none: all.
    check : bool
        Whether to integrate.
    """

    rank: int
    variance: str | None = None
    cross: str | None = None
    spectra: Path | None = None
    views: Path | None = None
    tokens: int | None = None
    token_correlation: float | None = None
    target: str = "output"
    line: bool = False
    mask_ratio: float | None = None
    block_length: int | None = None
    blocks: int = 1
    weight_decay: float | None = None
    predictor_rate: float = 1.0
    start: float | None = None
    width: int | None = None
    uniformity: Sequence[str] = ()
    check: bool = False


def answer(question: Question) -> Answer:
    """Return the answer to a question.

    Raises
    ------
    InputError
        If not exactly one kind of data was given, or an argument is out of its range.
    """
    q = question
    names = list(q.uniformity) or list(TERMS)
    for name in names:
        if name not in TERMS:
            raise InputError("uniformity", repr(name), f"must be one of {', '.join(TERMS)}")
    given = [name for name in ("variance", "spectra", "views", "tokens") if getattr(q, name) is not None]
    if len(given) != 1:
        raise InputError(
            "data",
            " and ".join(given) or "nothing",
            "must be one of --variance with --cross, --spectra, --views and --tokens",
        )
    for name, owner in (("cross", "variance"), ("token_correlation", "tokens")):
        if (getattr(q, name) is not None) != (getattr(q, owner) is not None):
            raise InputError(name, getattr(q, name), f"must be given with {owner}, and only with it")
    if q.tokens is None:
        for name in ("mask_ratio", "block_length"):
            if getattr(q, name) is not None:
                raise InputError(name, getattr(q, name), "must be given with tokens only")
    masks: list[MaskDesign] = []
    tokens: Tokens | None = None
    if q.variance is not None and q.cross is not None:
        data = Spectra.from_text(q.variance, q.cross)
    elif q.spectra is not None:
        data = Spectra.from_file(q.spectra)
    elif q.views is not None:
        data = Spectra.from_views(q.views)
    else:
        assert q.tokens is not None
        assert q.token_correlation is not None
        tokens = _tokens(q)
        data = _masked(q, tokens)
    decay = decay_design(
        data, q.rank, weight_decay=q.weight_decay, predictor_rate=q.predictor_rate, start=q.start, width=q.width
    )
    if tokens is not None:
        masks = [mask_design(tokens, q.rank, blocks=b, weight_decay=decay.weight_decay) for b in _families(q)]
    explicit = [explicit_design(decay, name) for name in names] if decay.weight_decay > 0 else []
    return Answer(decay, masks, explicit, check(decay) if q.check else None)


def write_figure(question: Question, found: Answer, out: Path, venue: str) -> list[Path]:
    """Write the trade-off as a figure with its data and caption; raises ``InputError`` as figures do."""
    from jepalign.figures import publication
    from jepalign.figures.trade_off import MaskCurve, TradeOff

    decay = found.decay
    curves = [
        MaskCurve(m.family, role, m.ratio, m.limit, m.blocks is not None, m.exact)
        for m, role in zip(found.masks, MASK_ROLES, strict=False)
    ]
    masked = {}
    if found.masks:
        tokens = found.masks[0].tokens
        for share in SHARES:
            modes = tokens.independent(share)
            masked[f"{100 * share:.0f} % hidden"] = modes.cross, modes.variance
    drawn = TradeOff(
        decay.spectra.cross,
        decay.spectra.variance,
        decay.rank,
        decay.weight_decay,
        decay.predictor_rate,
        decay.start,
        {} if found.masks else {name: TERMS[name] for name in question.uniformity or TERMS},
        curves,
        masked,
        decay.spectra.bound is not None,
    )
    return publication.export(drawn, out, venue, command=f"jepalign design --rank {question.rank} ... --out DIR")


def _tokens(q: Question) -> Tokens:
    assert q.tokens is not None
    assert q.token_correlation is not None
    target: Target = "input" if q.target == "input" else "output"
    if q.target != target:
        raise InputError("target", repr(q.target), "must be 'output' or 'input'")
    return Tokens(q.tokens, q.token_correlation, target, not q.line)


def _families(q: Question) -> list[int | None]:
    """Return the families of masks to compare: independent ones, one block, and as many blocks as asked for."""
    return [None, 1, *([q.blocks] if q.blocks != 1 else [])]


def _masked(q: Question, tokens: Tokens) -> Spectra:
    """Return the modes under the mask given, or under the one that keeps the rank against the most weight decay."""
    if q.mask_ratio is not None and q.block_length is not None:
        raise InputError("block_length", q.block_length, "must not be given beside mask_ratio")
    if q.mask_ratio is not None:
        return tokens.independent(q.mask_ratio)
    if q.block_length is not None:
        return tokens.blocks(q.block_length, q.blocks)
    families = [mask_design(tokens, q.rank, blocks=blocks) for blocks in _families(q)]
    return max((m for m in families if m.exact), key=lambda m: m.best_limit).best()
