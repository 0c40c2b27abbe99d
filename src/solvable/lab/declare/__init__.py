"""All that a system and its experiments are declared with; what needs JAX is loaded when it is asked for."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
