"""The two phases of a run, on any machine.

In: scenes, a `Query` and `Settings`. Out: a folder with every day of every grid. Here are cut the jobs, solved the
cells, written the days; here are the workers, the memory budget and the plan.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
