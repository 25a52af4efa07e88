"""What a person looks at: figures of fields, closures, instruments, errors and training."""

from impindiff.report.agreement import agreement_figure, plot_agreement
from impindiff.report.animation import animate_forecast, animation_path
from impindiff.report.closure_curve import closure_figure, plot_closure
from impindiff.report.comparison import (
    Points,
    method_errors_figure,
    plot_method_errors,
    plot_study,
    study_figure,
)
from impindiff.report.curves import (
    error_vs_time_figure,
    history_figure,
    plot_error_vs_time,
    plot_history,
)
from impindiff.report.fields import (
    Extent,
    forecast_figure,
    latent_figure,
    plot_forecast,
    plot_latent,
)
from impindiff.report.identifiability import identifiability_figure, plot_identifiability
from impindiff.report.lines import (
    identified_figure,
    plot_identified,
    plot_profiles,
    plot_space_time,
    profiles_figure,
    space_time_figure,
)
from impindiff.report.series import plot_series, series_figure
from impindiff.report.snapshots import plot_snapshots, snapshots_figure
from impindiff.report.sweep import plot_sweep, sweep_figure
from impindiff.report.training_curves import plot_training_curves, training_curves_figure

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
    "plot_agreement",
    "plot_closure",
    "plot_error_vs_time",
    "plot_forecast",
    "plot_history",
    "plot_identifiability",
    "plot_identified",
    "plot_latent",
    "plot_method_errors",
    "plot_profiles",
    "plot_series",
    "plot_snapshots",
    "plot_space_time",
    "plot_study",
    "plot_sweep",
    "plot_training_curves",
    "profiles_figure",
    "series_figure",
    "snapshots_figure",
    "space_time_figure",
    "study_figure",
    "sweep_figure",
    "training_curves_figure",
]
