"""The letters of the theory, and random exact instances of them.

Samples are columns: X and Y (d × m) hold the two views, Z (k × m) the embeddings of a batch, and the pairing T (m × m)
sends every embedding to its partner, so that ZT holds the partners z⁺. A *symmetrised* batch contains both orders of each
pair: T is symmetric; the two members of a pair come from one encoder: TTᵀ = I.
"""

import random
from typing import Any

import sympy as sp
from flint import fmpq, fmpq_mat

from jepalign.theory.exact import eye
from jepalign.theory.expressions import Named, SymmetricSymbol

k, d, m = sp.symbols("k d m", integer=True, positive=True)
"""Embedding dimension, input dimension, number of embeddings in the batch."""

W: Any = sp.MatrixSymbol("W", k, d)
V: Any = sp.MatrixSymbol("V", k, d)
P: Any = sp.MatrixSymbol("P", k, k)
Q: Any = sp.MatrixSymbol("Q", k, k)
R: Any = sp.MatrixSymbol("R", k, d)
X: Any = sp.MatrixSymbol("X", d, m)
Y: Any = sp.MatrixSymbol("Y", d, m)
Z: Any = sp.MatrixSymbol("Z", k, m)
T: Any = sp.MatrixSymbol("T", m, m)
Zbar: Any = sp.MatrixSymbol(r"\bar{Z}", k, m)
Sigma_x: Any = SymmetricSymbol(r"\Sigma_x", d)
Sigma_y: Any = SymmetricSymbol(r"\Sigma_y", d)
Sigma_yx: Any = sp.MatrixSymbol(r"\Sigma_{yx}", d, d)

eta, alpha, epsilon = sp.symbols("eta alpha epsilon", real=True)
"""Weight decay, learning rate of the predictor relative to the encoder's, step size."""

w, p, s = sp.symbols("w p s", real=True)
variance, cross, correlation = sp.symbols("sigma lambda rho", real=True)

Phi: Any = Named(r"\Phi", W * Sigma_x * W.T)
K: Any = Named("K", W * Sigma_yx * W.T)
batch_Phi: Any = Named(r"\Phi", Z * Z.T / m)
batch_K: Any = Named("K", Z * T * Z.T / m)


class Draw:
    """Random exact matrices: small rationals, so that counterexamples can be read."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def number(self) -> Any:
        """Return a rational with numerator at most 4 and denominator at most 3."""
        return fmpq(self.rng.randint(-4, 4), self.rng.randint(1, 3))

    def positive(self) -> Any:
        """Return a positive rational."""
        return fmpq(self.rng.randint(1, 4), self.rng.randint(1, 3))

    def matrix(self, rows: int, columns: int) -> Any:
        """Return a matrix of random numbers, never zero."""
        while True:
            found = fmpq_mat(rows, columns, [self.number() for _ in range(rows * columns)])
            if any(x != 0 for x in found.entries()):
                return found

    def symmetric(self, size: int) -> Any:
        """Return a symmetric matrix."""
        half = self.matrix(size, size)
        return half + half.transpose()

    def invertible(self, size: int) -> Any:
        """Return an invertible matrix."""
        while True:
            found = self.matrix(size, size)
            if found.det() != 0:
                return found

    def positive_definite(self, size: int) -> Any:
        """Return a symmetric positive definite matrix."""
        root = self.invertible(size)
        return root * root.transpose()

    def orthogonal(self, size: int) -> Any:
        """Return a rational orthogonal matrix (Cayley transform of a skew matrix)."""
        half = self.matrix(size, size)
        skew = half - half.transpose()
        return (eye(size) - skew) * (eye(size) + skew).inv()

    def orthonormal_rows(self, rows: int, columns: int) -> Any:
        """Return a matrix with orthonormal rows, rows ≤ columns."""
        whole = self.orthogonal(columns)
        return fmpq_mat(rows, columns, [whole[i, j] for i in range(rows) for j in range(columns)])

    def pairing(self, pairs: int) -> Any:
        """Return the permutation that exchanges the members of ``pairs`` pairs: symmetric, its own inverse."""
        size = 2 * pairs
        order = list(range(size))
        self.rng.shuffle(order)
        partner = {order[i]: order[i ^ 1] for i in range(size)}
        return fmpq_mat(size, size, [int(partner[j] == i) for i in range(size) for j in range(size)])

    def sizes(self, size: int) -> tuple[int, int]:
        """Return embedding and input dimension with 1 ≤ k ≤ d, larger with ``size``."""
        dimension = self.rng.randint(1, size)
        return dimension, self.rng.randint(dimension, size + (size > 1))

    def moments(self, size: int) -> tuple[Any, Any, Any]:
        """Return Σ_x, Σ_y, Σ_yx of random data: jointly positive semidefinite, otherwise arbitrary."""
        x, y = self.matrix(size, size + 1), self.matrix(size, size + 1)
        return x * x.transpose(), y * y.transpose(), y * x.transpose()

    def polynomial(self, degree: int = 3) -> tuple[Any, ...]:
        """Return the coefficients of a random polynomial."""
        return tuple(self.number() for _ in range(degree + 1))

    def balanced(self, rows: int, columns: int) -> tuple[Any, Any, Any]:
        """Return W, P and α with PᵀP = αWWᵀ exactly: W = LQ and Pᵀ = √α LO with orthogonal O and orthonormal rows Q."""
        root = self.positive()
        lower = self.matrix(rows, rows)
        encoder = lower * self.orthonormal_rows(rows, columns)
        return encoder, (lower * self.orthogonal(rows) * root).transpose(), root * root
