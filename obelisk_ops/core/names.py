"""What functions and classes are known as on disk: the same in a script and in a worker."""

from __future__ import annotations

import sys


def known_as(item: object) -> str:
    """Return ``module.qualname``; a script counts as the stem of its file."""
    module = getattr(item, "__module__", "")
    qualname = getattr(item, "__qualname__", "")
    return f"{script() or module if module == '__main__' else module}.{qualname}"


def script() -> str | None:
    """Return the name by which the code in ``__main__`` can be imported; None in a shell."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return str(file).rpartition("/")[2].removesuffix(".py") if file else None


def find(name: str) -> object:
    """Return what is known as *name*, if its module is loaded; nothing is imported."""
    module, _, rest = name.rpartition(".")
    while module:
        loaded = sys.modules.get("__main__" if module == script() else module)
        if loaded is not None:
            return _inside(loaded, rest)
        module, _, last = module.rpartition(".")
        rest = f"{last}.{rest}"
    return _inside(sys.modules["builtins"], rest)


def _inside(found: object, path: str) -> object:
    for part in path.split("."):
        found = getattr(found, part, None)
    return found
