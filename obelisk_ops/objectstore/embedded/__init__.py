"""
A real S3 server for laptops, tests and CI: SeaweedFS, run from its wheel.

Everything it opens is on the loopback address, at ports chosen here. Its inner
ports (master, volume, filer) ask for no password: it is made for a machine
whose users trust each other, never for production.
"""

from obelisk_ops.objectstore.embedded.server import DEFAULT_BUCKET, READ_ONLY, S3Server

__all__ = ["DEFAULT_BUCKET", "READ_ONLY", "S3Server"]
