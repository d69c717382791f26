"""
The configuration file and the environment, read once into frozen values.

Strict on purpose: Litestream ignores keys it does not know, so a typing error
there is a backup that is not what its owner thinks. Here every key is known,
every value checked, and no secret accepted.
"""

from obelisk_ops.settings.credentials import (
    Credentials,
    credential_environment,
    credentials,
)
from obelisk_ops.settings.databases import check_name, expand_databases
from obelisk_ops.settings.environment import (
    ServiceManager,
    child_environment,
    for_command,
    service_manager,
    variable,
    variables,
)
from obelisk_ops.settings.reading import check_bucket, load
from obelisk_ops.settings.values import (
    DatabaseSettings,
    LitestreamSettings,
    ReplicaSettings,
    Settings,
    Topology,
)

__all__ = [
    "Credentials",
    "DatabaseSettings",
    "LitestreamSettings",
    "ReplicaSettings",
    "ServiceManager",
    "Settings",
    "Topology",
    "check_bucket",
    "check_name",
    "child_environment",
    "credential_environment",
    "credentials",
    "expand_databases",
    "for_command",
    "load",
    "service_manager",
    "variable",
    "variables",
]
