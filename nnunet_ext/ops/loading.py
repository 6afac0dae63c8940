"""Whether an optional library can be used."""

import functools
import importlib


@functools.cache
def why_not_loaded(module: str, library: str) -> str | None:
    """Why `module` cannot be imported; None if it can.

    Args:
        module: its full name; importing it imports the library.
        library: what to call the library in the sentence.
    """
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed"
    # A library that does not fit Python, numpy, torch or the driver raises ImportError, RuntimeError or what it likes.
    except Exception as error:
        return f"{library} does not load: {type(error).__name__}: {error}"
    return None
