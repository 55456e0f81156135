"""The forecast of collapse from a measured last layer, and what it has to beat."""

from jepalign.linear_models.forecast.layer import LastLayer, LayerModes, layer_rate
from jepalign.linear_models.forecast.outcome import Forecast, ModeState, forecast
from jepalign.linear_models.forecast.settings import RunSettings

__all__ = ["Forecast", "LastLayer", "LayerModes", "ModeState", "RunSettings", "forecast", "layer_rate"]
