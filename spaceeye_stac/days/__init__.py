"""Keyframes to rasters of days.

In: keyframes. Out: the images of each day as Cloud Optimized GeoTIFFs, as virtual rasters, or as a lazy cube.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
