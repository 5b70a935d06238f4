"""The folder of a run to where others read it.

In: a run's folder and a target. Out: the collection at a STAC API, in an object store or in another folder, and a
`Report` of what became of each item.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
