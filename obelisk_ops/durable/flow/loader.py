"""Finding code by what a person types: ``pkg.mod:function``, ``file.py:function``, a module."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any

from obelisk_ops.core.words import meant
from obelisk_ops.durable.flow.functions import Activity, Stub, Workflow
from obelisk_ops.errors import FunctionNotFound, OpsError, WorkflowMisuse

_loaded: ContextVar[str] = ContextVar("obelisk_ops_loaded", default="")


def load_workflow(target: str) -> Workflow[Any, Any]:
    """
    Return the workflow that ``MODULE:NAME`` or ``FILE.py:NAME`` names.

    Raises:
        FunctionNotFound: There is no such file, module or workflow.
    """
    place, _, name = target.rpartition(":")
    if not place:
        raise FunctionNotFound(
            f"{target!r} names no function",
            hint="write pkg.module:function or file.py:function",
        )
    module = load_module(place)
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Workflow):
        return found
    known = sorted(k for k, v in vars(module).items() if isinstance(v, Workflow))
    raise FunctionNotFound(
        f"{place} has no workflow {name!r}{_what_it_is(found)}",
        hint=f"{meant(name, known)}it has: {', '.join(known)}"
        if known
        else "decorate a function with @workflow",
    )


def _what_it_is(found: object) -> str:
    if isinstance(found, Activity | Stub):
        return f": it is {'an activity' if isinstance(found, Activity) else 'a stub'}"
    return ": it is not decorated with @workflow" if callable(found) else ""


def load_served(
    target: str, *, only_activities: bool = False
) -> Workflow[Any, Any] | ModuleType:
    """
    Return one workflow (with ``:NAME``), or a module with all that it holds.

    Args:
        target: What a person types.
        only_activities: Whether a module will do that has nothing but activities.

    Raises:
        FunctionNotFound: There is none.
    """
    if ":" in target:
        return load_workflow(target)
    module = load_module(target)
    wanted = (Workflow, Activity) if only_activities else Workflow
    if not any(isinstance(one, wanted) for one in vars(module).values()):
        raise FunctionNotFound(
            f"{target} has no workflow", hint="name the module or file that has @workflow"
        )
    return module


def load_named(target: str | None, name: str) -> Workflow[Any, Any]:
    """
    Return the workflow known as *name*.

    Args:
        target: The module or file that has it, or ``…:FUNCTION``, which counts whatever
            its name; None for the module that *name* begins with.
        name: As it stands in a log.

    Raises:
        FunctionNotFound: There is no such workflow.
    """
    if target is not None and ":" in target:
        return load_workflow(target)
    place = target or _place_of(name)
    held = [one for one in vars(load_module(place)).values() if isinstance(one, Workflow)]
    for found in held:
        if found.name == name:
            return found
    known = [found.name for found in held]
    raise FunctionNotFound(
        f"{place} has no workflow {name!r}",
        hint=f"{meant(name, known)}name the function that is to run: file.py:function",
    )


def _place_of(name: str) -> str:
    module = name.rpartition(".")[0]
    file = Path(f"{module}.py")
    return str(file) if file.is_file() else module


def load_module(place: str) -> ModuleType:
    """
    Import ``pkg.mod``, or a file by its path; a file is known by its stem.

    Raises:
        FunctionNotFound: There is no such file or module, or importing it fails.
    """
    try:
        with loading(place):
            if place.endswith(".py") or "/" in place:
                return _load_file(Path(place).absolute())
            _look_in(Path.cwd())
            return importlib.import_module(place)
    except FunctionNotFound:
        raise
    except ModuleNotFoundError as error:
        raise FunctionNotFound(
            f"{place} cannot be imported: {error}",
            hint="run it where the code can be imported, or give the path of a .py file",
        ) from error
    except (Exception, SystemExit) as error:
        raise FunctionNotFound(
            f"importing {place} failed: {type(error).__name__}: {error}",
            hint=(isinstance(error, OpsError) and error.hint)
            or f"try: python -c 'import {Path(place).stem}'",
        ) from error


@contextmanager
def loading(place: str) -> Iterator[None]:
    """Note that code is loaded for what it holds, not to be run."""
    token = _loaded.set(place)
    try:
        yield
    finally:
        _loaded.reset(token)


def refuse_while_loading() -> None:
    """
    Look whether an engine may be started here.

    Raises:
        WorkflowMisuse: Code that is loaded for its functions starts one. In the child process
            of an isolated activity that would go on without an end: its engine would have
            such a child, too.
    """
    if place := _loaded.get():
        raise WorkflowMisuse(
            f"{place} starts an engine while it is loaded",
            hint="put what is to happen when the file is run below: if __name__ == '__main__':",
        )


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FunctionNotFound(
            f"there is no file {path}",
            hint="write FILE.py:FUNCTION, the path counted from where the command is run",
        )
    name = path.stem
    loaded = sys.modules.get(name)
    if loaded is not None:
        if Path(getattr(loaded, "__file__", None) or "").absolute() == path:
            return loaded
        raise FunctionNotFound(
            f"{path.name} cannot be loaded: another module is named {name!r}",
            hint="rename the file",
        )
    _look_in(path.parent)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FunctionNotFound(
            f"{path} is no Python file", hint="write pkg.module:function or file.py:function"
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _look_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
