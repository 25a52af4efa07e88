"""What a person looks at: figures of forecasts, latent fields, errors and training."""

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

__all__ = [
    "Extent",
    "error_vs_time_figure",
    "forecast_figure",
    "history_figure",
    "latent_figure",
    "plot_error_vs_time",
    "plot_forecast",
    "plot_history",
    "plot_latent",
]
