"""`jepalign diagnose`: from the files of a training run to what collapses, why, and what would save it; no torch but for .pt files."""

from jepalign.diagnosis.diagnosis import Diagnosis, as_json, diagnose
from jepalign.diagnosis.settings import Settings

__all__ = ["Diagnosis", "Settings", "as_json", "diagnose"]
