from .filming import Film as Film
from .filming import film as film
