from .xarray_backend import SpaceEyeBackend as SpaceEyeBackend
from .xarray_backend import open as open  # noqa: A004
