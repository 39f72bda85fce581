#!/usr/bin/env bash
# postgres.sh PORT DATA_DIR: one PostgreSQL server on 127.0.0.1:PORT with trust authentication for the user `tillstream`. As root it runs under
# the user `postgres`, since PostgreSQL refuses root. Returns when it answers.
set -euo pipefail
port=${1:?port}
data=${2:?data directory}
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
[ -x "$bin/initdb" ] || { echo "no PostgreSQL server binaries in /usr/lib/postgresql; run ./dev setup" >&2; exit 1; }
as() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
mkdir -p "$data"
[ "$(id -u)" = 0 ] && chown postgres "$data" && chmod 700 "$data"
if [ ! -e "$data/cluster/PG_VERSION" ]; then
  as "$bin/initdb" -D "$data/cluster" -U tillstream -A trust -E UTF8 --locale=C >/dev/null
fi
# The rig's server may lose its data in a power cut: nothing in it outlives the run.
as "$bin/pg_ctl" -D "$data/cluster" -l "$data/postgres.log" -w -t 60 \
  -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=300 -c fsync=off -c shared_buffers=128MB" start >/dev/null \
  || { tail -20 "$data/postgres.log" >&2; exit 1; }
