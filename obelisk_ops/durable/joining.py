"""
An engine that lost its place among the workers of a database takes another one.

As after SIGSTOP, or a network that was cut for longer than a lease: others went on with its
executions, and what it holds of them is dropped. Nothing of it became durable since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

from obelisk_ops.durable.commits import as_ops_error, closed_error
from obelisk_ops.durable.log import log
from obelisk_ops.durable.owner import Owner
from obelisk_ops.errors import Fenced, OpsError, StorageUnavailable
from obelisk_ops.storage import Address, Place

T = TypeVar("T")

_AGAIN_S = 1.0


class Joining:
    """The part of Engine that owns, and owns again."""

    path: Address
    _owner: Owner | None
    _joining: asyncio.Task[None] | None = None
    _lost: OpsError | None  # why it can be no worker again
    _changed: asyncio.Event

    def _take(self) -> Owner:
        raise NotImplementedError

    def _join(self) -> None:
        """Become a worker, and stay one."""
        self._owner, self._lost = self._take(), None
        self._changed = asyncio.Event()
        if isinstance(self.path, Place):
            self._joining = asyncio.create_task(self._stay())

    async def _leave(self) -> None:
        """Be none any more."""
        if self._joining is not None:
            self._joining.cancel()
            await asyncio.wait([self._joining])
            self._joining = None
        if self._owner is not None:
            await self._owner.close()
        self._owner = None

    async def _stay(self) -> None:
        try:
            await self._join_when_fenced()
        except asyncio.CancelledError:
            if self._owner is not None and self._owner.has_failed:
                self._lost = closed_error()  # for who waits for the next one
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            self._lost = as_ops_error(error)
            log.error("joins_no_more", database=str(self.path), reason=self._lost.message)
        finally:
            self._changed.set()

    async def _join_when_fenced(self) -> None:
        while self._owner is not None:
            try:
                await self._owner.failed()
            except Fenced as error:
                log.warning("joins_again", database=str(self.path), reason=error.message)
            except OpsError:
                return  # told to who waits for it
            await self._owner.close(grace_s=0.0)
            await self._take_again()

    async def _take_again(self) -> None:
        while True:
            try:
                self._owner = self._take()
            except StorageUnavailable as error:
                log.warning("join_failed", database=str(self.path), reason=error.message)
                await asyncio.sleep(_AGAIN_S)
            else:
                self._changed.set()
                self._changed = asyncio.Event()
                return

    async def _by_owner(self, work: Callable[[Owner], Awaitable[T]]) -> T:
        """Let the owner do something; anew, if it was fenced meanwhile and joined again."""
        while True:
            self._check()
            owner, changed = self._owner, self._changed
            assert owner is not None
            try:
                return await work(owner)
            except (Fenced, StorageUnavailable) as error:
                # Of one that is closed since it was fenced nothing is available any more.
                if not isinstance(error, Fenced) and not await _is_fenced(owner):
                    raise
                self._check()
                if self._joining is None or self._joining.done():
                    raise
                if self._owner is owner:
                    await changed.wait()

    def _check(self) -> None:
        """Raise why this can be no worker again, if that is so."""
        if self._lost is not None:
            raise self._lost from None

    async def _failed(self) -> NoReturn:
        async def wait(owner: Owner) -> NoReturn:
            await owner.failed()
            raise AssertionError  # it raises

        await self._by_owner(wait)
        raise AssertionError  # it raises, too


async def _is_fenced(owner: Owner) -> bool:
    try:
        if owner.has_failed:
            await owner.failed()
    except Fenced:
        return True
    except OpsError:
        return False  # it has failed for good
    return False
