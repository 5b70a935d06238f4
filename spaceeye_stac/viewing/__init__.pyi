from .zone_series import series as series
