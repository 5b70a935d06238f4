from .series_files import check_files as check_files
from .series_files import write_csv as write_csv
from .series_files import write_parquet as write_parquet
from .series_plot import plot_series as plot_series
from .zone_series import series as series
