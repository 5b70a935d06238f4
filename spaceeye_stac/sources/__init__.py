"""A Query to scenes.

In: a `Query`, or items of any catalog. Out: `Scene`s, each with its bands, its cloud mask and what was left out.
A catalog is not trusted: every href is checked, every request ends.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
