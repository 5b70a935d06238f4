from .demonstration import demo as demo
from .landscape import Simulation as Simulation
