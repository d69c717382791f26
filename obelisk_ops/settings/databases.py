"""Which databases the configuration means, and what they are called."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from obelisk_ops.errors import ConfigError
from obelisk_ops.settings.values import DatabaseSettings, Settings

_NAME = re.compile(r"[a-z0-9A-Z][A-Za-z0-9._-]{0,62}")
_SIDECARS = ("-wal", "-shm", "-journal")
_TEMPLATE_FIELDS = {"stem", "name", "parent"}


def expand_databases(settings: Settings) -> dict[str, Path]:
    """
    Return every database by its name; globs are resolved now.

    A path without a glob is listed whether its file exists or not. SQLite's
    side files and hidden files are never databases.

    Raises:
        ConfigError: Two paths have one name, one file has two, a name is not allowed, or
            there is a folder in the place of a file.
    """
    found, wrong = find_databases(settings, {})
    if wrong:
        raise wrong[0]
    return found


def find_databases(
    settings: Settings, known: Mapping[str, Path]
) -> tuple[dict[str, Path], list[ConfigError]]:
    """
    Return every database by its name, and what is wrong with the files that are left out.

    Of two that cannot be told apart, the one that is *known* is meant.
    """
    found: dict[str, Path] = {}
    names: dict[str, str] = {}
    folders: dict[str, str] = {}
    wrong: list[ConfigError] = []
    for name, path in sorted(_named(settings, wrong), key=lambda n: known.get(n[0]) != n[1]):
        if found.get(name) == path:
            continue
        real = _real(str(path), folders)
        if name in found:
            wrong.append(_same_name(name, found[name], path))
        elif names.setdefault(real, name) != name:
            wrong.append(_same_file(path, names[real], name))
        else:
            found[name] = path
    return found, wrong


def folders_looked_at(settings: Settings) -> frozenset[str] | None:
    """Return the folders whose entries say which databases there are; None if any may."""
    places = [os.path.split(entry.path) for entry in settings.databases]
    if not all(_is_plain(folder, name) for folder, name in places):
        return None
    return frozenset(folder for folder, _ in places)


def _named(settings: Settings, wrong: list[ConfigError]) -> Iterator[tuple[str, Path]]:
    for entry in settings.databases:
        if not glob.has_magic(entry.path) and os.path.isdir(entry.path):  # noqa: PTH112 — never raises
            wrong.append(_folder(entry.path))
            continue
        for path in _files(entry.path):
            try:
                yield _database_name(entry.name, path), path
            except ConfigError as error:
                wrong.append(error)


def _real(path: str, folders: dict[str, str]) -> str:
    # Resolving every step of every path costs most of a look at a thousand files.
    if os.path.islink(path):  # noqa: PTH114 — a Path costs more than the call
        return os.path.realpath(path)
    folder, name = os.path.split(path)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    return f"{folders[folder]}/{name}"


def _folder(path: str) -> ConfigError:
    return ConfigError(
        f"databases: {path} is a folder, not a database",
        hint=f"write {path}/*.db for the databases in it",
    )


def _same_name(name: str, one: Path, other: Path) -> ConfigError:
    return ConfigError(
        f"two databases are named '{name}': {one} and {other}",
        hint="give databases[].name a template that tells them apart, such as "
        "'{parent}-{stem}'",
    )


def _same_file(path: Path, one: str, other: str) -> ConfigError:
    return ConfigError(
        f"one database has two names: {path} is '{one}' and '{other}'",
        hint="let one entry of databases match it, or remove the symbolic link",
    )


def named_databases(settings: Settings) -> dict[str, Path]:
    """
    Return the databases that the configuration names one by one, without a glob.

    Raises:
        ConfigError: See ``expand_databases``.
    """
    single = [entry for entry in settings.databases if not glob.has_magic(entry.path)]
    return expand_databases(replace(settings, databases=tuple(single)))


def path_of(settings: Settings, name: str) -> Path:
    """
    Return where the configuration has the database *name*, whether it exists or not.

    Raises:
        ConfigError: It has no such place, or more than one.
    """
    check_name(name)
    found = {path for entry in settings.databases for path in _places(entry, name)}
    if len(found) == 1:
        return found.pop()
    if not found:
        raise ConfigError(
            f"{settings.path}: no entry of databases has a place for '{name}'",
            hint="name it: '- path: PATH' without a glob, and 'name:' if that is not {stem}",
        )
    raise ConfigError(
        f"{settings.path}: '{name}' has several places: {', '.join(map(str, sorted(found)))}",
        hint="let one entry of databases match it",
    )


def _places(entry: DatabaseSettings, name: str) -> list[Path]:
    """Return the files that *entry* would call *name*, as far as a glob can tell."""
    pattern = Path(entry.path)
    if not glob.has_magic(entry.path):
        return [pattern] if _database_name(entry.name, pattern) == name else []
    if glob.has_magic(str(pattern.parent)) or "{parent}" in entry.name:
        return []  # only an existing file would tell which folder is meant
    candidates = {pattern.with_name(name), pattern.with_name(f"{name}{pattern.suffix}")}
    return [
        path
        for path in candidates
        if fnmatch.fnmatchcase(path.name, pattern.name)
        and not _is_sidecar(path.name)
        and entry.name.format(stem=path.stem, name=path.name) == name
    ]


def name_of_path(settings: Settings, path: Path) -> str | None:
    """
    Return the name that the configuration gives to a file at *path*, also before it is there.

    Raises:
        ConfigError: The name is not allowed.
    """
    for entry in settings.databases:
        pattern = Path(entry.path)
        if path == pattern or (glob.has_magic(entry.path) and _matches(path, pattern)):
            return None if _is_sidecar(path.name) else _database_name(entry.name, path)
    return None


def _matches(path: Path, pattern: Path) -> bool:
    """Tell whether ``glob`` would find *path*; ``**`` stands for any number of folders."""
    return _match(path.parts, pattern.parts)


def _match(parts: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    if not patterns or not parts:
        return not parts and all(pattern == "**" for pattern in patterns)
    part, pattern = parts[0], patterns[0]
    is_hidden = part.startswith(".") and not pattern.startswith(".")
    if pattern == "**":
        deeper = not is_hidden and _match(parts[1:], patterns)
        return deeper or _match(parts, patterns[1:])
    found = fnmatch.fnmatchcase(part, pattern) and not is_hidden
    return found and _match(parts[1:], patterns[1:])


def check_name(name: str) -> str:
    """
    Return *name* if it can name a database in the bucket.

    Raises:
        ConfigError: It cannot.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name a database",
            hint="1 to 63 letters, digits, '.', '_' and '-', the first a letter or digit",
        )
    return name


def check_template(template: str, place: str, *, is_glob: bool) -> None:
    """
    Refuse a name template that is malformed, or that names all files of a glob alike.

    Raises:
        ConfigError: It is.
    """
    hint = "text, with {stem}, {name} or {parent} where it differs from file to file"
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        raise ConfigError(f"{place}: unbalanced braces in {template!r}", hint=hint) from None
    used = {name for _, name, _, _ in parts if name is not None}
    if used - _TEMPLATE_FIELDS or any(spec or conversion for _, _, spec, conversion in parts):
        raise ConfigError(f"{place}: {template!r} is no template", hint=hint)
    if is_glob and not used:
        raise ConfigError(f"{place}: {template!r} gives every file one name", hint=hint)
    if not used:
        check_name(template)


def _files(pattern: str) -> list[Path]:
    if not glob.has_magic(pattern):
        return [Path(pattern)]
    folder, name = os.path.split(pattern)
    if not _is_plain(folder, name):
        found = [Path(hit) for hit in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 — absolute patterns
        return [path for path in found if not _is_sidecar(path.name) and path.is_file()]
    try:
        with os.scandir(folder) as entries:
            matching = [entry for entry in entries if fnmatch.fnmatchcase(entry.name, name)]
            # A fleet looks again and again at thousands of entries, most of them side files.
            names = [e.name for e in matching if not _is_sidecar(e.name) and _is_file(e)]
    except OSError:
        return []
    return [Path(folder, name) for name in sorted(names)]


def _is_plain(folder: str, name: str) -> bool:
    """Tell whether the entries of one folder are all that a pattern can mean."""
    return not glob.has_magic(folder) and name != "**"


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_sidecar(name: str) -> bool:
    return name.startswith(".") or name.endswith(_SIDECARS)


def _database_name(template: str, path: Path) -> str:
    named = template.format(stem=path.stem, name=path.name, parent=path.parent.name)
    try:
        return check_name(named)
    except ConfigError as wrong:
        raise ConfigError(f"{path}: {wrong.message}", hint=wrong.hint) from None
