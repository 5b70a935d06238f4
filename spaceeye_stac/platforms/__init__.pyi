from .description import GROUPS as GROUPS
from .description import Parameter as Parameter
from .description import parameters_of as parameters_of
from .description import process_description as process_description
from .inputs import ProcessInputs as ProcessInputs
from .inputs import inputs_from as inputs_from
from .packages import FORMS as FORMS
from .packages import packaged as packaged
from .xarray_backend import SpaceEyeBackend as SpaceEyeBackend
from .xarray_backend import open as open  # noqa: A004
