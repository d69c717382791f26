"""
Where credentials come from: the environment, a profile, a file, or the platform.

They are read when they are needed and live in no other value, so that nothing
which is logged, shown or written can hold them.
"""

from __future__ import annotations

import configparser
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from obelisk_ops.errors import CredentialsError
from obelisk_ops.settings.environment import variable, variables
from obelisk_ops.settings.secrets import remember
from obelisk_ops.settings.values import ReplicaSettings

_ID, _SECRET, _SESSION = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"

#: what the platforms set for roles, IRSA, ECS and profiles; AWS_CA_BUNDLE is not among them,
#: Litestream does not start with it
_AMBIENT_PREFIXES = (
    _ID, _SECRET, _SESSION, "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ROLE_",
    "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_", "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE", "AWS_EC2_METADATA_", "AWS_STS_", "AWS_REGION",
    "AWS_DEFAULT_REGION",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A key pair; its repr shows neither half of it."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def credentials(replica: ReplicaSettings) -> Credentials | None:
    """
    Return the credentials for *replica* now; None where the platform provides them.

    Raises:
        CredentialsError: They are missing, incomplete, or readable by others.
    """
    kind, _, rest = replica.credentials.partition(":")
    match kind:
        case "env":
            return _from_environment()
        case "profile":
            return _from_profile(rest)
        case "file":
            return _from_file(Path(rest))
        case _:
            return None


def credential_environment(replica: ReplicaSettings) -> dict[str, str]:
    """
    Return the variables that give a child the credentials for *replica*.

    Raises:
        CredentialsError: See ``credentials``.
    """
    found = credentials(replica)
    if found is None:
        given = {k: v for p in _AMBIENT_PREFIXES for k, v in variables(p).items()}
        for name in (_SECRET, _SESSION):
            remember(given.get(name, ""))
        return given
    pair = {_ID: found.access_key_id, _SECRET: found.secret_access_key}
    return pair | ({_SESSION: found.session_token} if found.session_token else {})


def _from_environment() -> Credentials:
    given = {name: value for name in (_ID, _SECRET, _SESSION) if (value := variable(name))}
    missing = [name for name in (_ID, _SECRET) if name not in given]
    if missing:
        raise CredentialsError(
            f"no credentials: {' and '.join(missing)} not set",
            hint="set them, or choose another form of replica.credentials",
        )
    return _checked({name.lower(): value for name, value in given.items()}, "the environment")


def _from_profile(name: str) -> Credentials:
    home = Path.home() / ".aws"
    shared = Path(variable("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials")
    config = Path(variable("AWS_CONFIG_FILE") or home / "config")
    for file, section in ((shared, name), (config, _config_section(name))):
        parser = _parse(file, _read(file)) if file.exists() else None
        if parser and parser.has_section(section):
            keys = dict(parser.items(section))
            if "aws_access_key_id" in keys:
                return _checked(keys, f"profile '{name}'")
    raise CredentialsError(
        f"no credentials: profile '{name}' has no key pair in {shared} or {config}",
        hint="a profile with a role or single sign-on works with 'credentials: ambient' "
        "and AWS_PROFILE",
    )


def _config_section(profile: str) -> str:
    return profile if profile == "default" else f"profile {profile}"


def _from_file(file: Path) -> Credentials:
    parser = _parse(file, _read(file, private=True))
    if not parser.has_section("default"):
        raise CredentialsError(
            f"no credentials: {file} has no section [default]",
            hint="write it like the shared credentials file of AWS",
        )
    return _checked(dict(parser.items("default")), str(file))


def _read(file: Path, *, private: bool = False) -> str:
    try:
        with file.open(encoding="utf-8-sig") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if private and stat.S_IMODE(mode) & _others(file):
                raise CredentialsError(
                    f"{file} can be read by others (mode {stat.S_IMODE(mode):04o})",
                    hint=f"chmod 600 {file}, and change the keys if others had access",
                )
            return stream.read(64 * 1024)
    except (OSError, UnicodeDecodeError) as wrong:
        why = wrong.strerror if isinstance(wrong, OSError) else "not UTF-8 text"
        raise CredentialsError(
            f"no credentials: {file} cannot be read: {why}",
            hint="check the path in replica.credentials",
        ) from None


def _others(file: Path) -> int:
    # systemd keeps what LoadCredential= gives in a folder that the service alone can enter, and
    # lets it read by an access control list, which shows as a right of the group.
    kept = variable("CREDENTIALS_DIRECTORY")
    return 0o007 if kept and file.is_relative_to(kept) else 0o077


def _parse(file: Path, text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(text)
    except configparser.Error:
        # The parser's own message repeats the line, and the line may be the secret.
        raise CredentialsError(
            f"no credentials: {file} is not written like a shared credentials file",
            hint="a line [default], then aws_access_key_id = … and aws_secret_access_key = …",
        ) from None
    return parser


def _checked(keys: Mapping[str, str], where: str) -> Credentials:
    key_id, secret = keys.get("aws_access_key_id"), keys.get("aws_secret_access_key")
    token = keys.get("aws_session_token") or None
    for hidden in (secret, token):
        remember(hidden or "")
    if not key_id or not secret:
        raise CredentialsError(
            f"no credentials: {where} holds half of a key pair",
            hint="aws_access_key_id and aws_secret_access_key belong together",
        )
    if any(not part.isascii() or not part.isprintable() or " " in part
           for part in (key_id, secret, token or "")):  # fmt: skip
        raise CredentialsError(
            f"the credentials in {where} hold a space or a line break",
            hint="copy them again without what surrounds them",
        )
    return Credentials(access_key_id=key_id, secret_access_key=secret, session_token=token)
