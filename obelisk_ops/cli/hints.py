"""Hints as they can be typed: with the configuration and the database of this command line."""

from __future__ import annotations

import shlex

import click

from obelisk_ops.storage import is_server
from obelisk_ops.storage.postgres.place import conceal

#: as they were given: ``config``, ``database`` and the ``name`` of a backup
_given: dict[str, str] = {}


def forget() -> None:
    """Begin a command: nothing was given yet."""
    _given.clear()


def remember_config(config: object) -> None:
    """Note what ``-c`` names, if it is given."""
    if config is not None:
        _given["config"] = str(config)


def remember_database(
    _ctx: click.Context, _param: click.Parameter, database: str | None
) -> str | None:
    """Note what ``--db`` names, and hide a secret in it; a callback of the option."""
    if database is not None and is_server(database):
        database = conceal(database)
    if database is not None:
        _given["database"] = database
    return database


def remember_name(_ctx: click.Context, _param: click.Parameter, name: str) -> str:
    """Note the NAME of a backup; a callback of the argument."""
    _given["name"] = name
    return name


def as_typed(hint: str) -> str:
    """Return a hint whose commands are about what this command line is about."""
    if "database" in _given:
        hint = hint.replace("--db DB", f"--db {shlex.quote(_given['database'])}")
    if "name" in _given:
        hint = hint.replace(" NAME ", f" {shlex.quote(_given['name'])} ")
    if "config" in _given:
        config = shlex.quote(_given["config"])
        hint = hint.replace("obelisk-ops ", f"obelisk-ops -c {config} ")
    return hint
