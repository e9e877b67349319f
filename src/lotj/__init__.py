"""lotj: a robot learns to insert a connector it has never seen, from camera images, by practising on its own."""

__version__ = "0.1.0"
