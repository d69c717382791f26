"""
What the programs of programs.py must answer, found in plain Python without durable calls.

Answers do not depend on how long anything takes, nor on crashes, but for one thing: of
several members that fail, any may be the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from obelisk_ops.durable.flow.rng import ReplayRandom
from tests.programs import CALLS, VALUES, Program


class Choices:
    """One way through what may go several ways, and the others that branch off from it."""

    def __init__(self, way: list[int]) -> None:
        self.others: list[list[int]] = []
        self._way = way
        self._made = 0

    def choose(self, many: int) -> int:
        """Return which of so many it is on this way."""
        if self._made == len(self._way):
            self.others += [[*self._way, other] for other in range(1, many)]
            self._way.append(0)
        self._made += 1
        return self._way[self._made - 1]


class Model:
    """The same in plain Python: what an execution of this name must answer."""

    def __init__(
        self, name: str, choices: Choices, planned: dict[str, Any] | None = None
    ) -> None:
        self.name = name
        self.choices = choices
        self.calls = 0
        self.received = 0
        self.draws = ReplayRandom(name)
        self.planned = {} if planned is None else planned

    def interpret(self, program: Program) -> list[Any]:
        out: list[Any] = []
        for what, *rest in program:
            if what in CALLS or what == "sleep":
                out += self.leaves([(what, *rest)])
            else:
                out.append(getattr(self, f"do_{what}")(*rest))
        return out

    def leaves(self, part: Program) -> list[Any]:
        out = []
        for what, n in part:
            self.calls += 1
            if what == "fail":
                raise KeyError(n)
            if what != "sleep":
                out.append(VALUES[what] * n)
        return out

    def child(self) -> Model:
        self.calls += 1
        return Model(f"{self.name}/{self.calls}", self.choices, self.planned)

    def do_draw(self) -> int:
        return self.draws.randint(0, 1000)

    def do_patched(self) -> bool:
        return True

    def do_receive(self) -> int:
        self.calls += 1
        self.received += 1
        return self.received - 1

    def do_child(self, program: Program) -> list[Any]:
        return self.child().interpret(program)

    def do_try(self, program: Program) -> Any:
        try:
            return self.child().interpret(program)
        except KeyError as error:
            return f"caught {error}"

    def do_all(self, programs: list[Program]) -> list[Any]:
        members = [(self.child(), program) for program in programs]
        answers = [outcome_of(member, program) for member, program in members]
        errors = {answer.args: answer for answer in answers if isinstance(answer, KeyError)}
        if errors:  # that of the member which ends first, whichever that is
            raise list(errors.values())[self.choices.choose(len(errors))]
        return sorted(str(answer) for answer in answers)

    def do_gather(self, parts: list[Program]) -> list[Any]:
        return [self.leaves(part) for part in parts]

    def do_settle(self, parts: list[Program]) -> list[str]:
        out: list[Any] = []
        for part in parts:
            try:
                out.append(self.leaves(part))
            except KeyError as error:
                out.append(error)
        return [str(answer) for answer in out]

    def do_first(self, pauses: list[int]) -> int:
        self.calls += len(pauses)
        return pauses.index(min(pauses))

    def do_race(self, _loser: str, part: Program) -> list[Any]:
        self.calls += 1
        return [1, self.leaves(part)]

    def do_late(self, _part: Program) -> str:
        self.calls += 1
        return "late"

    def do_intime(self, part: Program) -> list[Any]:
        return self.child().leaves(part)

    def do_drop(self, n: int) -> int:
        self.calls += 1
        return n

    def do_undo(self, n: int) -> str:
        self.calls += 1
        return f"undone {n}"

    def do_count(self, n: int) -> int:
        self.calls += 1
        return n * (n + 1) // 2

    def do_schedule(self, program: Program) -> str:
        planned = self.child()
        self.planned[planned.name] = outcome_of(planned, program)
        return planned.name


def outcome_of(model: Model, program: Program) -> Any:
    try:
        return model.interpret(program)
    except KeyError as error:
        return error


def possible(name: str, program: Program) -> Iterator[dict[str, Any]]:
    """Yield what each execution without a parent may answer, together; mostly one way."""
    ways: list[list[int]] = [[]]
    while ways:
        choices = Choices(ways.pop(0))
        model = Model(name, choices)
        answer = outcome_of(model, program)
        yield {name: answer, **model.planned}
        ways += choices.others


def expected(name: str, program: Program) -> dict[str, Any]:
    """Return the answers to a program that can have no others; of any, their names."""
    return next(possible(name, program))


def check_answers(answers: Mapping[str, Any], name: str, program: Program) -> None:
    """Raise AssertionError if these are none of the possible answers."""
    ways = list(possible(name, program))
    found = {execution: answers[execution] for execution in ways[0]}
    assert any(is_same(found, wanted) for wanted in ways), (program, found, ways)


def is_same(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return {name: plain(answer) for name, answer in found.items()} == {
        name: plain(answer) for name, answer in wanted.items()
    }


def plain(answer: Any) -> Any:
    """Errors, too, are compared by what they say."""
    return (KeyError, answer.args) if isinstance(answer, KeyError) else answer
