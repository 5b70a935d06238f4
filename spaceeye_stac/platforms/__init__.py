"""What other platforms ask of a processor: one description of the process, and its forms for each of them.

In: the dataclasses that say what a run is asked for, and what a platform sends. Out: their description as JSON Schema,
those dataclasses, and packages that platforms install. What needs a library of a platform is an optional extra.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
