"""Which code belongs to which name, in one engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, TypeAlias, cast

from msgspec import Raw

from obelisk_ops.core import events
from obelisk_ops.core.barrier import Replication
from obelisk_ops.durable.flow.digests import is_full, names_in
from obelisk_ops.durable.flow.functions import Activity, Stub, Workflow
from obelisk_ops.durable.flow.signals import Signal
from obelisk_ops.durable.flow.watch import Watches
from obelisk_ops.errors import WorkflowMisuse

Served: TypeAlias = Workflow[Any, Any] | ModuleType
#: what the outside comes in by
Door: TypeAlias = Signal[Any] | Stub[..., Any]


class Registry:
    """
    Workflows by name. Activities are not looked up: workflows hold them.

    Attributes:
        watches: Who sees what their code calls; None for nobody.
    """

    def __init__(
        self,
        items: Served | Iterable[Served] = (),
        watches: Watches | None = None,
    ) -> None:
        self.watches = watches
        self._known: dict[str, Workflow[Any, Any] | Activity[Any, Any]] = {}
        self._activities: dict[str, Activity[Any, Any]] = {}
        self._activities_of = 0
        self._looked_beside: dict[Workflow[Any, Any], int] = {}  # and how much was there
        self._doors: dict[Workflow[Any, Any], tuple[int, list[Door]]] = {}
        is_one = isinstance(items, Workflow | ModuleType)
        for item in cast("Iterable[Served]", [items] if is_one else items):
            if not isinstance(item, Workflow | ModuleType):
                raise WorkflowMisuse(
                    f"{item!r} is neither a workflow nor a module",
                    hint="workflows=[…] takes functions with @workflow, or modules with some",
                )
            self.add(item)

    def get(self, name: str) -> Workflow[Any, Any] | None:
        """Return the workflow of this name, if it is served here."""
        found = self._known.get(name)
        return found if isinstance(found, Workflow) else None

    def activities(self) -> dict[str, Activity[Any, Any]]:
        """Return the activities whose code is here: of what is served, and what that names."""
        if self._activities_of != len(self._known):
            found = [
                one for item in self._known.values()
                for one in ((item,) if isinstance(item, Activity) else _named(item))
            ]  # fmt: skip
            self._activities = {one.name: one for one in found if isinstance(one, Activity)}
            self._activities_of = len(self._known)
        return self._activities

    def names(self) -> list[str]:
        """Return the names of the workflows that are served."""
        return [name for name, item in self._known.items() if isinstance(item, Workflow)]

    def created(self, function: str, given: Raw, **more: Any) -> events.Created:  # noqa: ANN401
        """Return the ``created`` event of a new execution; *more* are its other fields."""
        known = self.get(function)
        if known is None:
            return events.Created(fn=function, input=given, **more)
        return created(known, given, **more)

    def signals(self, workflow: Workflow[Any, Any], name: str) -> list[Signal[Any]]:
        """Return the signals of this name that a workflow's code, or its module, knows."""
        doors = self._doors_of(workflow)
        return [one for one in doors if isinstance(one, Signal) and one.name == name]

    def stub(self, workflow: Workflow[Any, Any], name: str) -> Stub[..., Any] | None:
        """Return the stub of this name that a workflow's code, or its module, knows."""
        doors = self._doors_of(workflow)
        found = (one for one in doors if isinstance(one, Stub) and one.name == name)
        return next(found, None)

    def replicated(self, engine: Replication) -> Iterator[str]:
        """Yield who says it is to be replicated: engine, functions served, what they call."""
        if engine.is_replicated:
            yield "this engine"
        for known in self._known.values():
            yield from replicated_in(known)

    def _doors_of(self, workflow: Workflow[Any, Any]) -> list[Door]:
        size = len(_globals(workflow))
        if self._doors.get(workflow, (0, []))[0] != size:
            self._doors[workflow] = (size, [*_doors(workflow)])
        return self._doors[workflow][1]

    def add(self, item: Workflow[Any, Any] | Activity[Any, Any] | ModuleType) -> list[str]:
        """
        Serve a workflow, or all of a module; return the names that are new.

        With a workflow come the child workflows that its code names.

        Raises:
            WorkflowMisuse: Two functions have one name.
        """
        if isinstance(item, ModuleType):
            return self._add_all(vars(item).values())
        return self._add_all([item])

    def add_with_module(self, item: Workflow[Any, Any]) -> list[str]:
        """Serve a workflow, and what its module holds: its children among them."""
        beside = _globals(item)
        if self._looked_beside.get(item) == len(beside):
            return []  # at every submit: a module may be long
        new = self._add_all([item, *beside.values()])
        self._looked_beside[item] = len(beside)
        return new

    def _add_all(self, items: Iterable[object]) -> list[str]:
        new: list[str] = []
        todo = deque(items)
        while todo:
            item = todo.popleft()
            if isinstance(item, Workflow | Activity) and self._add_one(item):
                new.append(item.name)
                todo.extend(_children(item))
        return new

    def _add_one(self, item: Workflow[Any, Any] | Activity[Any, Any]) -> bool:
        is_new = item.name not in self._known
        known = self._known.setdefault(item.name, item)
        if known.function is not item.function:
            raise WorkflowMisuse(
                f"two functions are named {item.name}",
                hint="give one of them another name: @workflow(name=…), @activity(name=…)",
            )
        return is_new


def created(function: Workflow[Any, Any], given: Raw, **more: Any) -> events.Created:  # noqa: ANN401
    """Return the ``created`` event of a new execution of a workflow."""
    return events.Created(
        fn=function.name,
        input=given,
        timeout=function.timeout_ms,
        cancellable=function.cancellable is not False,
        with_parent=function.cancellable is True,
        digest=function.digest,
        **more,
    )


def replicated_in(item: Workflow[Any, Any] | Activity[Any, Any]) -> Iterator[str]:
    """Yield the names of what says durability='replicated': it, and what its code names."""
    named = _named(item) if isinstance(item, Workflow) else ()
    for found in (item, *named):
        if isinstance(found, Workflow | Activity) and found.replicated:
            yield found.name


def _children(item: Workflow[Any, Any] | Activity[Any, Any]) -> Iterator[Workflow[Any, Any]]:
    if isinstance(item, Workflow):
        yield from (found for found in _named(item) if isinstance(found, Workflow))


def _doors(item: Workflow[Any, Any]) -> Iterator[Door]:
    for found in (*_named(item), *_globals(item).values()):  # a helper may wait for it
        if isinstance(found, Signal | Stub):
            yield found


def _named(item: Workflow[Any, Any]) -> Iterator[object]:
    """Yield ``name``, in the function's module or around it, and ``module.name``."""
    code = getattr(item.function, "__code__", None)  # none, if it is a callable object
    names = set(names_in(code)) if code else set()
    cells = getattr(item.function, "__closure__", None) or ()
    seen = [cell.cell_contents for cell in cells if is_full(cell)]
    seen += [value for name, value in _globals(item).items() if name in names]
    for value in seen:
        inside = [getattr(value, name, None) for name in names]
        yield value
        yield from inside if isinstance(value, ModuleType) else ()


def _globals(item: Workflow[Any, Any]) -> dict[str, object]:
    found: dict[str, object] = getattr(item.function, "__globals__", {})
    return found
