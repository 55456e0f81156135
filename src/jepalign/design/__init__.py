"""The reverse of diagnosis: from data and a wanted rank to the settings that keep it (4.3, 4.6, 7.2)."""

from jepalign.design.check import Checked, check
from jepalign.design.decay import DecayDesign, decay_design
from jepalign.design.explicit import TERMS, ExplicitDesign, explicit_design
from jepalign.design.masks import MaskDesign, mask_design
from jepalign.design.spectra import Spectra

__all__ = [
    "TERMS",
    "Checked",
    "DecayDesign",
    "ExplicitDesign",
    "MaskDesign",
    "Spectra",
    "check",
    "decay_design",
    "explicit_design",
    "mask_design",
]
