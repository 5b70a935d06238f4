from .cube_pixels import Units as Units
from .description import GROUPS as GROUPS
from .description import ONLY_IN_PYTHON as ONLY_IN_PYTHON
from .description import Parameter as Parameter
from .description import parameters_of as parameters_of
from .description import process_description as process_description
from .filling import fill_clouds as fill_clouds
from .inputs import ProcessInputs as ProcessInputs
from .inputs import inputs_from as inputs_from
from .openeo import openeo_process as openeo_process
from .openeo import register_openeo as register_openeo
from .openeo import run_openeo_process as run_openeo_process
from .packages import FORMS as FORMS
from .packages import packaged as packaged
from .query_file import read_query_file as read_query_file
from .query_file import write_query_file as write_query_file
from .xarray_backend import SpaceEyeBackend as SpaceEyeBackend
from .xarray_backend import open as open  # noqa: A004
