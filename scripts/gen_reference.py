"""
Writes the pages of docs/reference that are read off the code, and off the tests.

    python scripts/gen_reference.py          write them
    python scripts/gen_reference.py --check  exit 1 if one is not current

A page that is written by hand is older than the code a day later.
"""

from __future__ import annotations

import inspect
import re
import runpy
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from obelisk_ops import errors
from obelisk_ops.cli import main as root_command
from obelisk_ops.core import events
from obelisk_ops.monitor import catalogue

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
_CATALOGUES = str(Path(__file__).with_name("catalogues.py"))
_NOTE = (
    "<!-- Written by scripts/gen_reference.py (`make fmt`); change the code, not this page. -->"
)


def pages() -> dict[Path, str]:
    """Return every generated page by its path."""
    made = {"cli.md": cli_page(), "errors.md": errors_page(), "events.md": events_page()}
    made["metrics.md"] = metrics_page()
    found = runpy.run_path(_CATALOGUES)
    made |= {"behaviours.md": found["BEHAVIOURS"].page(), "faults.md": found["FAULTS"].page()}
    return {REFERENCE / name: f"{_NOTE}\n\n{text.strip()}\n" for name, text in made.items()}


# -- commands --------------------------------------------------------------------------


def cli_page() -> str:
    """Return the page of all commands."""
    listed = list(commands(root_command, "obelisk-ops"))
    rows = [
        f"| [`{path}`](#{path.replace(' ', '-')}) | {_first_sentence(command)} |"
        for path, command in listed
        if not isinstance(command, click.Group)
    ]
    sections = [_command_section(path, command) for path, command in listed]
    return "\n".join([_CLI_INTRO, "| Command | Does |", "|---|---|", *rows, "", *sections])


_CLI_INTRO = """# Commands

`obelisk-ops [-c CONFIG] [--debug] COMMAND`. Data goes to stdout, everything else to stderr.
With `--json` a command prints one line of JSON whose fields are stable
([json.md](json.md)), and the last line on stderr of a failure is
`{"error":{"code","message","hint"}}`. Exit statuses and error codes stand in
[errors.md](errors.md).

The configuration is read from `-c`, else from the file that `OBELISK_OPS_CONFIG` names,
else from `./obelisk-ops.yml` ([configuration.md](configuration.md)). `--debug` shows the
traceback of an unexpected error; nothing else does.

`--db` names a file. Where a command only reads it may also name a backup: `NAME`,
`NAME@WHEN` or `s3://bucket/prefix/NAME[@WHEN]`; with a `/`, ending in `.db`, or where such
a file exists, it is a path. A backup is read where it is: nothing is restored.

Moments (`--at`, `--since`) are written `2026-11-22T10:00:00Z` (a zone is required),
`10m ago`, `1h30m ago`, `latest`, `txid:236` (a transaction of the current epoch, decimal)
or `e0002/txid:236`; filters such as `--since` take times only.
"""


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command below *group*, with the words that call it."""
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


def _command_section(path: str, command: click.Command) -> str:
    ctx = click.Context(command, info_name=path)
    parts = [f"## {path}", "", _paragraphs(command.help or ""), ""]
    if isinstance(command, click.Group):
        return "\n".join(parts)
    parts += ["```text", _usage(path, command, ctx), "```", ""]
    rows = [_option_row(ctx, option) for option in command.get_params(ctx)]
    shown = [row for row in rows if row]
    if shown:
        parts += ["| Option | Meaning |", "|---|---|", *shown, ""]
    return "\n".join(parts)


def _usage(path: str, command: click.Command, ctx: click.Context) -> str:
    arguments = [piece for piece in command.collect_usage_pieces(ctx) if piece != "[OPTIONS]"]
    options = f"{_required(command)} [OPTIONS]".split()
    # What is behind the arguments of exec belongs to its command.
    is_any_order = command.context_settings.get("allow_interspersed_args", True)
    words = [*arguments, *options] if is_any_order else [*options, *arguments]
    return " ".join([path, *words])


def _required(command: click.Command) -> str:
    wanted = [
        f" {param.opts[0]} {param.make_metavar(click.Context(command))}"
        for param in command.params
        if isinstance(param, click.Option) and param.required
    ]
    return "".join(wanted)


def _option_row(ctx: click.Context, param: click.Parameter) -> str | None:
    record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
    if record is None or "--help" in param.opts:
        return None
    option, meaning = (_cell(text) for text in record)
    return f"| `{option}` | {meaning.removesuffix('[required]').strip() or 'required'} |"


def _paragraphs(text: str) -> str:
    blocks = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return "\n\n".join(map(_paragraph, blocks))


def _paragraph(block: str) -> str:
    """Wrap a paragraph; one that begins with click's mark stands as it is written."""
    mark, _, as_written = block.partition("\b\n")
    if as_written and not mark:
        return f"```text\n{as_written}\n```"
    return textwrap.fill(" ".join(block.split()), 98, **_WHOLE_WORDS)


_WHOLE_WORDS: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


def _first_sentence(command: click.Command) -> str:
    return _cell(_paragraphs(command.help or "").split("\n\n")[0])


# -- errors ----------------------------------------------------------------------------


def errors_page() -> str:
    """Return the page of exit statuses and error codes."""
    rows = [
        f"| `{kind.code}` | {kind.exit_status} | `{kind.__name__}` | {_about(kind)} |"
        for kind in error_classes()
    ]
    head = ["| Code | Exit | Class | Means |", "|---|---|---|---|"]
    return "\n".join([_ERRORS_INTRO, *head, *rows])


_ERRORS_INTRO = r"""# Exit statuses and errors

A class names what the *caller* can do about it. Its code is stable across releases: match
on the code, never on the message. A message says what is wrong and where; the hint says
what to do. With `--json` the last line on stderr is
`{"error":{"code":"…","message":"…","hint":"…"}}`.

## Exit statuses

| Status | Means |
|---|---|
| 0 | done; for `status`: every database is `ok` |
| 1 | a failure with no better name; a bug |
| 2 | usage: the command line, a JSON argument, a moment, or the name of a function is wrong |
| 3 | the configuration is wrong |
| 4 | unknown: it could not be proven in time, or is not finished yet |
| 5 | degraded: lagging, or stopped with data unsent |
| 6 | something is unavailable: storage, S3, the bucket, a program |
| 7 | not found: no such execution, database, backup or restore point; a moment in the future |
| 8 | conflict: the target exists, the id is taken with other input, it has ended already |
| 9 | another owner has the right to write |
| 10 | verification failed: a gap, damage, a corrupt file |
| 11 | the credentials are missing, wrong or insufficient |
| 12 | the clock of this machine is wrong |
| 13 | the execution failed, or a value cannot be written as JSON |
| 14 | the execution is parked: its code does not fit its log |
| 126, 127 | `exec`: CMD cannot be run, or is not there |
| 130 | interrupted; the execution goes on when the command is given again |
| 141 | nobody reads its stdout any more, as behind `\| head -1`; nothing is said |

`exec` ends with the status of the program that it ran, 128 + N where signal N ended it. One of
the statuses above comes from `exec` itself, with an error: then the program was not started.

Commands over several databases exit with the first of 9, 11, 12, 10, 6, 4, 5, 1 that
applies to one of them.

## Codes
"""


def error_classes() -> list[type[errors.OpsError]]:
    """Return every error class in the order of the tree."""

    def below(kind: type[errors.OpsError]) -> Iterator[type[errors.OpsError]]:
        yield kind
        for child in kind.__subclasses__():
            if child.__module__ == errors.__name__:
                yield from below(child)

    return list(below(errors.OpsError))


# -- events ----------------------------------------------------------------------------


def events_page() -> str:
    """Return the page of the kinds of events."""
    sections = [_event_section(kind, body) for kind, body in events.BODIES.items()]
    failure = "\n".join(_field_rows(events.Failure))
    return "\n".join(
        [_EVENTS_INTRO, *sections, "## An error, as it is recorded", "", _FIELDS, failure]
    )


_EVENTS_INTRO = """# Events

An execution's log is a list of events: `version` (0, 1, 2, …), `at`, `kind` and a JSON
body. In the table `log` the body is the column `body` and `at` is in UTC milliseconds;
`obelisk-ops execution events --json` prints the fields of the body beside `version`, `at`
(ISO 8601) and `kind`.

A *command* is something the workflow's code asked for; on replay it must ask for the same
again. A *response* is something it was told; on replay it is told the same, in the same
order. `n` is the number of a call within its execution: 1, 2, 3, … in the order in which
the code made them. A field that has its default is left out of the body. Kinds and fields
are added, never renamed.
"""
_FIELDS = "| Field | Type |\n|---|---|"


def _event_section(kind: str, body: type[Any]) -> str:
    role = (
        "command" if kind in events.COMMANDS
        else "response" if kind in events.RESPONSES else "note"
    )  # fmt: skip
    about = re.sub(r"``(\w+)``", r"`\1`", inspect.getdoc(body) or "")
    about = re.sub(r"\*n\*", "`n`", about)
    for field in msgspec.structs.fields(body):
        about = about.replace(f"`{field.name}`", f"`{field.encode_name}`")
    about = re.sub(rf"^`{kind}`(?: \((?:command|response)\))?: ?", "", about)
    lines = [f"## {kind}", "", f"*{role}* — {_paragraphs(about)}", ""]
    rows = _field_rows(body)
    return "\n".join([*lines, _FIELDS, *rows, ""] if rows else lines)


def _field_rows(body: type[Any]) -> list[str]:
    return [
        f"| `{field.encode_name}` | {_type_name(field.type)} |"
        for field in msgspec.structs.fields(body)
    ]


def _type_name(kind: Any) -> str:  # noqa: ANN401 - an annotation
    text = str(getattr(kind, "__name__", kind))
    words = {"Raw": "JSON", "int": "integer", "str": "text", "Failure": "error"}
    found = next((word for part, word in words.items() if part in (text, *_arms(kind))), text)
    return f"{found}, or absent" if "UnsetType" in _arms(kind) else found


def _arms(kind: Any) -> list[str]:  # noqa: ANN401 - an annotation
    return [arm.__name__ for arm in getattr(kind, "__args__", ())]


# -- metrics ---------------------------------------------------------------------------


def metrics_page() -> str:
    """Return the page of all metrics."""
    rows = [
        f"| `{metric.full_name}` | {metric.kind} | {_labels(metric)} | {_cell(metric.help)} |"
        for metric in catalogue.METRICS
    ]
    head = ["| Metric | Kind | Labels | Is |", "|---|---|---|---|"]
    return "\n".join([_METRICS_INTRO, *head, *rows, _METRICS_END])


def _labels(metric: catalogue.Metric) -> str:
    return ", ".join(f"`{label}`" for label in metric.labels) or "none"


_METRICS_INTRO = """# Metrics

With `metrics.listen` ([configuration.md](configuration.md)) the supervisor answers
`GET /metrics` with what `status` knows, in the forms of Prometheus and OpenMetrics. A
scrape asks the bucket nothing, and Litestream nothing: it costs no request, and tells of
an outage at once. Nothing of Litestream's own metrics is passed on; they stay green while
nothing is uploaded ([why](../explanation/truth-about-backups.md)).

Times are points in time (UTC, in seconds), never ages: `time() - …` is right also when
nobody has measured since. What is not known is left out, never 0. Names and labels are
stable; metrics are added.
"""
_METRICS_END = """
`state` is one of `ok`, `starting`, `lagging`, `unknown`, `fenced`, `backoff`, `fatal`,
`stopped` ([what they mean](../explanation/truth-about-backups.md#states)). Counters begin
anew with the supervisor; `obelisk_ops_bucket_requests_total` also when the place of the
backups is changed.

The port is for this machine. There is no password: with `allow_remote` a firewall or a
proxy has to guard it. A request must ask for an address, for `localhost`, or for one of
`metrics.hosts`; anything else is refused with 421. When the port is taken, the supervisor
says so, tries again every second, and goes on with its work.
"""


# -- words -----------------------------------------------------------------------------


def _about(kind: type) -> str:
    return _cell((inspect.getdoc(kind) or "").split("\n\n")[0])


def _cell(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


def main(arguments: list[str]) -> int:
    """Write the pages, or compare them; return the exit status."""
    stale = [path for path, text in pages().items() if _read(path) != text]
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(f"{path.name} is not current: run 'make fmt'\n")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pages()[path], encoding="utf-8")
    return 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
