from .globe import bbox as bbox
from .globe import footprint as footprint
from .globe import joined as joined
from .globe import middle as middle
from .globe import polygons as polygons
from .globe import split as split
from .globe import unwrapped as unwrapped
from .regions import region_of as region_of
