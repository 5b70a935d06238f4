from .profiles import profile_named as profile_named
from .scenes import SceneList as SceneList
from .scenes import scenes_from_items as scenes_from_items
from .selection import as_records as as_records
from .selection import search as search
from .transport import UNREADABLE as UNREADABLE
from .transport import patient as patient
from .transport import reason as reason
