from .dispatch import DayStream as DayStream
from .dispatch import publish as publish
from .dispatch import unpublish as unpublish
from .report import PublishOptions as PublishOptions
from .report import Report as Report
