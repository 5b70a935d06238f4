from .dispatch import DayStream as DayStream
from .dispatch import publish as publish
from .dispatch import unpublish as unpublish
from .placing import without_local_paths as without_local_paths
from .report import PublishOptions as PublishOptions
from .report import Report as Report
from .run_folder import media_type_of as media_type_of
from .targets import target_of as target_of
