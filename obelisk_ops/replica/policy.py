"""
What a key pair has to be allowed to do in the bucket, and nothing beyond.

Three roles: the machine that writes backups, one that only reads them, and one
that only deletes what is too old. No role may delete a marker: markers say which
epoch is the current one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from obelisk_ops.replica.layout import CHECK_FOLDER, HOSTS_FOLDER, folder, root_marker
from obelisk_ops.settings import ReplicaSettings

Statement = dict[str, Any]

#: an LTX file and nothing else below a prefix: <name>/e0001/0000/….ltx
_LTX_FILES = "*/e????*/????/*.ltx"

#: what `check` asks the bucket itself about; refused, it says that it cannot tell
_BUCKET_RULES = [
    "s3:GetBucketVersioning",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetLifecycleConfiguration",
]


class Role(StrEnum):
    """What a key pair is for."""

    WRITER = "writer"
    READER = "reader"
    PRUNER = "pruner"


def policy(replica: ReplicaSettings, role: Role) -> dict[str, Any]:
    """Return the least that *role* needs, as an identity policy of AWS."""
    statements = [_listing(replica)]
    match role:
        case Role.WRITER:
            statements += _writing(replica)
        case Role.READER:
            statements.append(_allow("Read", ["s3:GetObject"], _objects(replica, "*")))
        case Role.PRUNER:
            statements += [
                _allow("Read", ["s3:GetObject"], _objects(replica, "*")),
                _allow("DeleteLtxFiles", ["s3:DeleteObject"], _objects(replica, _LTX_FILES)),
            ]
    if replica.endpoint is None or replica.endpoint.startswith("https:"):
        statements.append(_no_plain_text(replica))
    return {"Version": "2012-10-17", "Statement": statements}


def _listing(replica: ReplicaSettings) -> Statement:
    made = _allow("List", ["s3:ListBucket"], _bucket(replica))
    if replica.prefix:
        below = [replica.prefix, f"{replica.prefix}/*"]
        made["Condition"] = {"StringLike": {"s3:prefix": below}}
    return made


def _writing(replica: ReplicaSettings) -> list[Statement]:
    write = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"]
    deletable = [
        # Litestream's own retention, and its compaction of what it has shipped.
        _objects(replica, _LTX_FILES),
        # A lease that is given back, and what `check` has put there itself.
        _objects(replica, f"{HOSTS_FOLDER}/*"),
        _objects(replica, f"{CHECK_FOLDER}/*"),
        # Of a prefix that was founded inside another one, and given up at once.
        f"{_bucket(replica)}/{root_marker(replica.prefix)}",
    ]
    return [
        _allow("ReadAndWrite", write, _objects(replica, "*")),
        _allow("DeleteButMarkers", ["s3:DeleteObject"], deletable),
        _allow("ReadRulesOfTheBucket", _BUCKET_RULES, _bucket(replica)),
    ]


def _no_plain_text(replica: ReplicaSettings) -> Statement:
    return {
        "Sid": "NothingWithoutTls",
        "Effect": "Deny",
        "Action": "s3:*",
        "Resource": [_bucket(replica), _objects(replica, "*")],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def _allow(name: str, actions: list[str], resource: str | list[str]) -> Statement:
    return {"Sid": name, "Effect": "Allow", "Action": actions, "Resource": resource}


def _objects(replica: ReplicaSettings, pattern: str) -> str:
    return f"{_bucket(replica)}/{folder(replica.prefix)}{pattern}"


def _bucket(replica: ReplicaSettings) -> str:
    return f"arn:{_partition(replica.region)}:s3:::{replica.bucket}"


def _partition(region: str) -> str:
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"
