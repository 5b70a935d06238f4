from .demonstration import demo as demo
from .landscape import Simulation as Simulation
from .landscape import write_catalog as write_catalog
