"""Claims as data: each kind is a value that can be printed, checked for all cases, and evaluated in one case.

What is printed is what is checked, and a false sibling is nothing but another value of the same kind: it goes through
the same checker, which has to refuse it with a counterexample. ``check`` answers proved, refuted or unknown; only
"proved" counts. ``failure`` evaluates the claim exactly at one instance and says by how much it fails there, or None.
"""

from jepalign.theory.checking import Cited, Claim, Context, Finding, Method, Outcome, search
from jepalign.theory.matrix_claims import AfterStep, Dominates, Equality, Gradient, Rate
from jepalign.theory.scalar_claims import Implication, ModeRate, Positive, ScalarIdentity, SolvesODE, formula_failure

__all__ = [
    "AfterStep",
    "Cited",
    "Claim",
    "Context",
    "Dominates",
    "Equality",
    "Finding",
    "Gradient",
    "Implication",
    "Method",
    "ModeRate",
    "Outcome",
    "Positive",
    "Rate",
    "ScalarIdentity",
    "SolvesODE",
    "formula_failure",
    "search",
]
