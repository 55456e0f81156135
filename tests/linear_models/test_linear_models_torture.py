"""A part of the torture table in the ordinary run: every trajectory against fifty digits at the edges of its domain."""

from dataclasses import replace
from typing import Any

import linear_models_torture
import numpy as np
import pytest
from linear_models_torture import BOUND, SUBJECTS, torture


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_bound_is_kept(name: str) -> None:
    found = torture(name, 40, seed=1)
    assert found.cases == max(1, int(40 * SUBJECTS[name].share))
    assert found.nans == found.warned == 0
    assert not found.unheld
    assert found.worst <= BOUND, found.where


def test_a_result_off_in_the_thirteenth_digit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # Half of the cases of Barlow Twins are near rest, of condition number one or so.
    honest = SUBJECTS["barlow_twins"]

    def careless(*given: Any) -> Any:
        return np.asarray(honest.solve(*given)) * (1 + 1e-12)

    monkeypatch.setitem(linear_models_torture.SUBJECTS, "barlow_twins", replace(honest, solve=careless))
    assert torture("barlow_twins", 40, seed=1).worst > 10 * BOUND
