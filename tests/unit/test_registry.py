"""Which code belongs to which name."""

from __future__ import annotations

import types
from typing import Any

import pytest

from obelisk_ops import activity, workflow
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.durable.flow.registry import Registry
from obelisk_ops.errors import WorkflowMisuse


@workflow
async def flow() -> None:
    """Do nothing."""


@workflow(name="short")
async def named() -> None:
    """Do nothing, under another name."""


@activity
def act() -> None:
    """Do nothing."""


def module(**items: object) -> types.ModuleType:
    made = types.ModuleType("made")
    vars(made).update(items)
    return made


def test_what_is_added_is_found_by_name() -> None:
    registry = Registry()

    assert registry.add(flow) == [f"{__name__}.flow"]
    assert registry.add(named) == ["short"]
    assert registry.add(flow) == []
    assert registry.get("short") is named
    assert registry.get("nobody") is None


def test_one_may_be_given_without_a_list() -> None:
    assert Registry(named).get("short") is named
    assert Registry(module(a=named)).get("short") is named


@pytest.mark.parametrize("item", [act, "shop.fulfil", flow.function])
def test_what_is_neither_is_refused(item: Any) -> None:
    with pytest.raises(WorkflowMisuse, match="is neither a workflow nor a module"):
        Registry([item])


def test_a_module_is_served_with_all_it_holds() -> None:
    registry = Registry()

    registry.add(module(a=flow, b=named, c=act, alias=flow, d=1, e="text"))

    assert registry.get(f"{__name__}.flow") is flow
    assert registry.get(f"{__name__}.act") is None  # no workflow: nothing to go on with


def test_a_workflow_brings_the_children_of_its_module() -> None:
    registry = Registry()

    assert set(registry.add_with_module(flow)) == {
        f"{__name__}.flow", "short", f"{__name__}.act",
    }  # fmt: skip


def test_options_of_an_activity_are_no_second_function() -> None:
    Registry().add(module(a=act, b=act.options()))


@pytest.mark.parametrize("first", [flow, act])
def test_two_functions_with_one_name_are_an_error(first: Any) -> None:
    async def other() -> None: ...

    registry = Registry()
    registry.add(module(a=first))

    with pytest.raises(WorkflowMisuse, match="two functions are named"):
        registry.add(Workflow(other, first.name))


def test_a_workflow_brings_the_children_that_its_code_names() -> None:
    @workflow
    async def inner() -> None:
        """Do nothing."""

    elsewhere = module(distant=named)

    @workflow
    async def parent() -> list[object]:
        await flow()
        return [inner() for _ in range(2)] + [elsewhere.distant()]

    registry = Registry()

    registry.add(parent)

    assert registry.get(inner.name) is inner
    assert registry.get(flow.name) is flow
    assert registry.get("short") is named
