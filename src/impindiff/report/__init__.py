"""What a person looks at: figures of forecasts, latent fields, errors and training."""

from impindiff.report.animation import animate_forecast, animation_path
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
from impindiff.report.lines import (
    identified_figure,
    plot_identified,
    plot_profiles,
    plot_space_time,
    profiles_figure,
    space_time_figure,
)

__all__ = [
    "Extent",
    "animate_forecast",
    "animation_path",
    "error_vs_time_figure",
    "forecast_figure",
    "history_figure",
    "identified_figure",
    "latent_figure",
    "plot_error_vs_time",
    "plot_forecast",
    "plot_history",
    "plot_identified",
    "plot_latent",
    "plot_profiles",
    "plot_space_time",
    "profiles_figure",
    "space_time_figure",
]
