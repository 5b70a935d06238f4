from .catalog import write_catalog as write_catalog
from .demonstration import demo as demo
from .landscape import Simulation as Simulation
