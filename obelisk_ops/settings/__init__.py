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
from obelisk_ops.settings.databases import (
    check_name,
    expand_databases,
    find_databases,
    folders_looked_at,
    name_of_path,
    named_databases,
    path_of,
)
from obelisk_ops.settings.environment import (
    ServiceManager,
    cache_folder,
    child_environment,
    for_command,
    service_manager,
    variable,
    variables,
)
from obelisk_ops.settings.monitoring import origin, webhook_address
from obelisk_ops.settings.reading import check_bucket, load
from obelisk_ops.settings.secrets import hide, hide_in, remember
from obelisk_ops.settings.values import (
    AlertsSettings,
    DatabaseSettings,
    DrillSettings,
    LitestreamSettings,
    MetricsSettings,
    ReplicaSettings,
    RestoreSettings,
    Settings,
    Topology,
)

__all__ = [
    "AlertsSettings",
    "Credentials",
    "DatabaseSettings",
    "DrillSettings",
    "LitestreamSettings",
    "MetricsSettings",
    "ReplicaSettings",
    "RestoreSettings",
    "ServiceManager",
    "Settings",
    "Topology",
    "cache_folder",
    "check_bucket",
    "check_name",
    "child_environment",
    "credential_environment",
    "credentials",
    "expand_databases",
    "find_databases",
    "folders_looked_at",
    "for_command",
    "hide",
    "hide_in",
    "load",
    "name_of_path",
    "named_databases",
    "origin",
    "path_of",
    "remember",
    "service_manager",
    "variable",
    "variables",
    "webhook_address",
]
