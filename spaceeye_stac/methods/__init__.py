"""Observations to states.

In: the looks of one window of one cell. Out: a state on its acquisition days, linear between them, and how far to
trust it. `base` says what a method is, `registry` which there are.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
