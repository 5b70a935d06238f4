"""Scenes to observations on a grid.

In: the scenes of a `GridJob` and a part of its grid. Out: reflectance and `clear`, `(band, time, y, x)`, and the
illuminance of each day. A failed read is an error, never a blank pixel.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
