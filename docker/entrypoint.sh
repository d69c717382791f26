#!/bin/sh
# Secrets are mounted as files; `credentials: env` and libpq want variables. Set here, they are
# neither in the image nor in what `docker inspect` shows, and never on a command line.
set -eu

for name in AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN PGPASSWORD; do
    if [ -r "/run/secrets/$name" ]; then
        value=$(cat "/run/secrets/$name")
        export "$name=$value"
    fi
done

exec "$@"
