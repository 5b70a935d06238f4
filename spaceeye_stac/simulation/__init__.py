"""Landscapes with known truth.

In: a `Simulation`. Out: a catalog as a satellite would deliver it, and the truth of every day; and the demo.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
