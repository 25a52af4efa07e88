"""Figures of fields, closures, instruments, errors and training."""

from impindiff.report._agreement import agreement_figure
from impindiff.report._animation import animate_forecast, animation_path
from impindiff.report._closure_curve import closure_figure
from impindiff.report._comparison import Points, method_errors_figure, study_figure
from impindiff.report._curves import error_vs_time_figure, history_figure
from impindiff.report._identifiability import identifiability_figure
from impindiff.report._lines import identified_figure, profiles_figure, space_time_figure
from impindiff.report._series import series_figure
from impindiff.report._snapshots import samples_figure, snapshots_figure
from impindiff.report._sweep import sweep_figure
from impindiff.report._training_curves import plot_training_curves, training_curves_figure
from impindiff.report.fields import Extent, forecast_figure, latent_figure
from impindiff.report.style import save

__all__ = [
    "Extent",
    "Points",
    "agreement_figure",
    "animate_forecast",
    "animation_path",
    "closure_figure",
    "error_vs_time_figure",
    "forecast_figure",
    "history_figure",
    "identifiability_figure",
    "identified_figure",
    "latent_figure",
    "method_errors_figure",
    "plot_training_curves",
    "profiles_figure",
    "samples_figure",
    "save",
    "series_figure",
    "snapshots_figure",
    "space_time_figure",
    "study_figure",
    "sweep_figure",
    "training_curves_figure",
]
