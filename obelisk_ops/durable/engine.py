"""The engine: one database, the workflows served from it, and the loop that drives them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from operator import methodcaller
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, TypeVar, cast

from msgspec import Raw

from obelisk_ops.core import events, failures, forking, ids, requests
from obelisk_ops.core.barrier import Durability, OnTimeout, read_replication
from obelisk_ops.core.clock import Clock, SystemClock
from obelisk_ops.core.durations import seconds
from obelisk_ops.core.history import history_of
from obelisk_ops.core.ports import LogReader, State, StateRow
from obelisk_ops.core.values import Codec, to_json
from obelisk_ops.durable.activity_worker import ActivityWorker, served_by_many
from obelisk_ops.durable.client import Client
from obelisk_ops.durable.commits import closed_error
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.durable.flow.loader import refuse_while_loading
from obelisk_ops.durable.flow.machine import watches_for
from obelisk_ops.durable.flow.registry import Registry, Served, replicated_in
from obelisk_ops.durable.flow.registry import created as created_event
from obelisk_ops.durable.handle import Handle, ending
from obelisk_ops.durable.housekeeping import Housekeeping
from obelisk_ops.durable.joining import Joining
from obelisk_ops.durable.limits import Limits
from obelisk_ops.durable.looking import Looking
from obelisk_ops.durable.owner import Owner
from obelisk_ops.durable.scheduling import Scheduling
from obelisk_ops.durable.supervised import checked, wait_until_passed
from obelisk_ops.durable.work.crashes import why_parked
from obelisk_ops.durable.work.output import LIMIT_BYTES
from obelisk_ops.durable.work.queues import Queue, read_queues
from obelisk_ops.durable.work.workshop import Bench
from obelisk_ops.errors import (
    ConfigError,
    NotFinished,
    WorkflowMisuse,
)
from obelisk_ops.storage import Place, as_address

R = TypeVar("R")

_ANSWER_POLL_S = 0.01
_ANSWER_S = 2.0
_ENDED = (State.FINISHED, State.PARKED)


class Engine(Joining, Scheduling, Housekeeping, Looking):
    """
    Runs workflows in one database: ``async with Engine("runs/exp-17.db") as engine``.

    Nothing is global: two engines in one process do not know each other.
    """

    _worker: ActivityWorker | None = None

    def __init__(  # noqa: PLR0913 - keywords, each with a default
        self,
        database: str | Path | Place,
        *,
        workflows: Served | Iterable[Served] | None = None,
        queues: Iterable[str | Queue] = ("default",),
        serve: bool | Literal["activities"] = True,
        durability: Durability = "local",
        replication_timeout: timedelta | float = 30.0,
        on_replication_timeout: OnTimeout = "fail",
        threads: int = 64,
        keep_loaded: int = 1000,
        max_crashes: int = 10,
        output_limit: int = LIMIT_BYTES,
        grace: timedelta | float = 10.0,
        storage_timeout: timedelta | float = 30.0,
        clock: Clock | None = None,
        strict: bool | None = None,
    ) -> None:
        """
        Describe an engine; ``async with`` starts it.

        Args:
            database: Path of an SQLite file, or ``postgresql://…``; made if there is none.
            workflows: What to serve besides the workflows submitted here, so that
                unfinished executions go on: functions, or modules that hold them; one or many.
            queues: The queues to serve, names or Queue objects; activities of others wait.
            serve: False to submit and read only; ``activities`` to make what owners offer.
            durability: ``local`` or ``replicated``: acknowledged when it is on this disk,
                or when the bucket holds it. A workflow or activity may differ.
            replication_timeout: After how long it is too late for that; numbers count seconds.
            on_replication_timeout: ``fail``: callers are given ReplicationTimeout then, or
                ``wait``: they wait on; nothing is seen before the bucket holds it.
            threads: How many ``def`` activities run at the same time.
            keep_loaded: How many executions stay in memory that wait for what may take
                long (timers, signals, children); others are replayed when it comes.
            max_crashes: How often one call may end with its process before it is parked.
            output_limit: How many bytes of what one attempt prints and logs are kept.
            grace: How long, on leaving, activities may take to end.
            storage_timeout: How long a commit that fails, or a read of a server, is repeated.
            clock: Where the time comes from.
            strict: Whether clocks, chance, threads and network are caught in workflow code.
                None: throughout in tests and with ``python -X dev``, else while it is new.

        Raises:
            ConfigError, UsageError: A value, or the URL of a database, is not supported.
            WorkflowMisuse: What is to be served is no workflow, or two have one name.
        """
        replication = read_replication(durability, replication_timeout, on_replication_timeout)
        self._clock: Clock = clock or SystemClock()
        self._registry = Registry(workflows or (), watches_for(strict))
        self.path = checked(as_address(database), self._registry.replicated(replication))
        self._serve, is_shared = serve, isinstance(self.path, Place)
        self._limits = Limits(
            bench=Bench(threads, read_queues(queues), output_limit, max_crashes, is_shared),
            grace_s=seconds(grace), storage_timeout_s=seconds(storage_timeout),
            keep_loaded=keep_loaded, replication=replication,
        )  # fmt: skip
        self._owner: Owner | None = None
        self._client: Client | None = None  # one of the two, while it runs

    async def __aenter__(self) -> Self:
        if self._serve:
            refuse_while_loading()
        if self._serve is True:
            self._join()
            return self
        if self._serve:
            place = served_by_many(self.path)
            self._worker = ActivityWorker(place, self._clock, self._registry, self._limits)
        self._client = Client(self.path, self._clock)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._leave()
        if self._worker is not None:
            await self._worker.close()
        if self._client is not None:
            self._client.close()
        self._client = self._worker = None

    async def submit(
        self,
        function: Workflow[..., R],
        /,
        *args: Any,  # noqa: ANN401 - the workflow's own, checked against its signature
        id: str | None = None,  # noqa: A002 - it is what everybody calls it
        paused: bool = False,
        **kwargs: Any,  # noqa: ANN401
    ) -> Handle[R]:
        """
        Start an execution, and return when that is durable.

        Args:
            function: The workflow.
            *args: Its arguments.
            id: The execution's id, drawn if left out. The same id with the same input
                attaches to what exists already.
            paused: Whether a new one runs nothing before it is unpaused.
            **kwargs: Its arguments by name.

        Raises:
            InvalidInput: The arguments do not fit the signature, or the id is none.
            ExecutionExists: The id is taken with another function or input.
            StorageUnavailable: It could not be made durable.
        """
        if not isinstance(function, Workflow):
            raise WorkflowMisuse(
                f"{function!r} is no workflow", hint="decorate it with @workflow"
            )
        text = function.codec.encode_input(args, kwargs)
        function.codec.decode_input(text)
        return await self.submit_json(function, text, execution_id=id, paused=paused)

    async def submit_json(
        self,
        function: Workflow[Any, R],
        text: bytes,
        *,
        execution_id: str | None = None,
        paused: bool = False,
    ) -> Handle[R]:
        """Do the same as ``submit`` with the arguments as a JSON array."""
        checked(self.path, replicated_in(function))
        is_fresh = execution_id is None
        execution_id = (
            ids.generated(self._clock.now_ms())
            if execution_id is None
            else ids.checked(execution_id)
        )
        body = created_event(function, Raw(text), paused=paused)
        if self._owner is not None:
            self._welcome(function)
            create = methodcaller("create", execution_id, body, is_fresh=is_fresh)
            created = await self._by_owner(create)
        else:
            created = self._post("create", execution_id, events.encode(body))
            await self._wait_for_bucket(function)
        return Handle(execution_id, created, self, function.codec)

    async def failed(self) -> NoReturn:
        """
        Wait for the moment from which this engine can do nothing more.

        Raises:
            StorageUnavailable: The database could not be written for too long.
            OpsError: It is damaged, or the engine has a bug.
        """
        if self._owner is not None:
            await self._failed()
        if self._worker is not None:
            await self._worker.failed()
        self._reader()
        raise ConfigError("an engine with serve=False owns nothing that could fail")

    def handle(self, execution_id: str) -> Handle[Any]:
        """
        Return an execution that exists.

        Raises:
            ExecutionNotFound: It does not.
        """
        row = self.row(execution_id)
        return Handle(execution_id, False, self, self._codec_of(row.function))  # noqa: FBT003

    async def stub(
        self,
        call_id: str,
        value: Any = None,  # noqa: ANN401 - what the stub's annotation says
        *,
        error: BaseException | None = None,
    ) -> bool:
        """
        Give a stub its result, and return when that is durable.

        Args:
            call_id: The id of the call, as in ``order-42/3``.
            value: The result.
            error: Raised where the stub is awaited, instead of a result.

        Returns:
            False when it has the same result already.

        Raises:
            StubNotFound: There is no such call, or it is no stub.
            AlreadyAnswered: It has another result, or is not wanted any more.
            ExecutionEnded: The execution is finished.
        """
        if error is not None:
            body = requests.Answer(error=failures.record(error))
        else:
            body = requests.Answer(ok=Raw(to_json(value)))
        return await self.ask("stub", call_id, requests.encode(body), is_checked=False)

    async def fork(
        self,
        execution_id: str,
        *,
        from_version: int,
        id: str | None = None,  # noqa: A002 - it is what everybody calls it
    ) -> Handle[Any]:
        """
        Start an execution that begins with the same events as another one.

        Args:
            execution_id: Of the other one.
            from_version: The first event that the new one does not share.
            id: Of the new one; made from the other's if left out.

        Raises:
            ExecutionNotFound: There is no such execution.
            InvalidInput: It has no such version, or it is after its end.
            Conflict: A child workflow was open by then, and has no outcome yet.
            ExecutionExists: The new id is taken.
        """
        row = self.row(execution_id)
        inbox = self._reader().inbox(row.key)
        origin = history_of(row.id, self.read_log(row.id), inbox)
        name = forking.default_id(row.id, from_version) if id is None else ids.checked(id)
        forking.fork(origin, from_version, name)  # or it says why not
        body = requests.Fork(id=row.id, version=from_version)
        await self.ask("fork", name, requests.encode(body))
        return Handle(name, True, self, self._codec_of(row.function))  # noqa: FBT003

    async def ask(
        self, kind: str, target: str, body: str = "{}", *, is_checked: bool = True
    ) -> bool:
        """See Source.ask. Returns when it is durable; whether it changes anything."""
        if self._owner is not None:
            posted = self._owner.post(kind, target, body)  # once, also if it is fenced then
            await self._by_owner(methodcaller("answered", kind, target, body, posted))
            return posted > 0
        is_news = self._post(kind, target, body)
        has_owner = self._client is not None and self._client.has_owner
        if is_news and has_owner and not is_checked:
            # Whether it fits what the code waits for only the owner knows.
            await self.when_answered(requests.execution_of(kind, target), _ANSWER_S)
        await self._wait_for_bucket(None)
        return is_news

    async def when_answered(self, execution_id: str, timeout_s: float) -> StateRow | None:
        """
        Return an execution once the owner has answered all letters to it; None if late.

        Raises:
            OpsError: What was last asked of it here was refused.
        """
        reader = self._reader()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while reader.letters_to(execution_id):  # noqa: ASYNC110 - a file
                    await asyncio.sleep(_ANSWER_POLL_S)
                if self._client is not None:
                    self._client.check(execution_id)
                return self.row(execution_id)
        return None

    # -- Source: what handles ask for ------------------------------------------------

    async def wait_finished(self, execution_id: str) -> events.Finished:
        """See Source.wait_finished."""
        if self._owner is None:
            await self._wait_for_owner(execution_id)
        elif (seen := await self._by_owner(methodcaller("wait", execution_id))) is not None:
            return cast("events.Finished", seen)
        if self._owner is None and self._client is None:
            raise closed_error()  # while this was waiting
        execution_id = self._latest(execution_id)
        row = self.row(execution_id)
        if row.state is State.PARKED:
            raise why_parked(row.error, self.read_log(execution_id))
        if row.state is not State.FINISHED:
            raise NotFinished(f"execution {execution_id!r} is {row.state}")
        await self._wait_for_bucket(self._registry.get(row.function))
        return ending(self._reader().last(row.key))

    # -- inside ------------------------------------------------------------------------

    def _welcome(self, function: Workflow[..., Any]) -> None:
        if self._owner is not None:
            self._owner.serve(self._registry.add_with_module(function))

    def _take(self) -> Owner:
        return Owner(self.path, self._clock, self._registry, self._limits)

    async def _wait_for_bucket(self, function: Workflow[Any, Any] | None) -> None:
        """Wait for what an owner here would wait for before it lets anybody know."""
        replication = self._limits.replication
        given = function.replicated if function is not None else None
        if self._owner is None and (replication.is_replicated if given is None else given):
            await wait_until_passed(self.path, replication)

    async def _wait_for_owner(self, execution_id: str) -> None:
        # Another process finishes it; of a file a reader can but watch it.
        if self._client is None:
            raise self._not_running()
        latest = partial(self._latest, execution_id)
        await self._client.wait(latest, self._has_ended)

    def _has_ended(self, execution_id: str) -> bool:
        return self.row(execution_id).state in _ENDED

    def _latest(self, execution_id: str) -> str:
        """Return the id of the execution that goes on in place of one, or its own."""
        reader = self._reader()
        return ids.latest(execution_id, reader.find, reader.newest_link)

    def _reader(self) -> LogReader:
        if self._owner is not None:
            return self._owner.reader
        if self._client is not None:
            return self._client.reader()
        raise self._not_running()

    @staticmethod
    def _not_running() -> WorkflowMisuse:
        return WorkflowMisuse(
            "the engine is not running", hint="use it inside 'async with Engine(…) as engine:'"
        )

    def _codec_of(self, function: str) -> Codec | None:
        known = self._registry.get(function)
        return known.codec if known else None

    def _post(self, kind: str, target: str, body: str) -> bool:
        if self._client is None:
            raise self._not_running()
        return self._client.post(kind, target, body)
