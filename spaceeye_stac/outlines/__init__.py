"""Regions and footprints in degrees.

In: GeoJSON, or a region in whatever way it is written. Out: shapely geometries and GeoJSON on a globe that is cut at
180 degrees.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
