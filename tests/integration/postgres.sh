#!/usr/bin/env bash
# A PostgreSQL of the tests' own, in a directory, under a user that is not root.
#
#   postgres.sh install          install Debian's where there is none (as root)
#   postgres.sh start DIR PORT   the same, make a cluster in DIR and start it; POSTGRES_FSYNC=on writes to the disk
#   postgres.sh restart DIR      stop it at once, cutting all connections, and start it again
#   postgres.sh stop DIR         stop it at once
set -euo pipefail

HELP="install PostgreSQL (Debian: apt-get install postgresql) so that /usr/lib/postgresql/*/bin or PATH has initdb and pg_ctl"
LOCK="${TMPDIR:-/tmp}/stomplistener-postgres-install-$(id -u).lock"

fail() {
    echo "postgres: $*" >&2
    exit 1
}

# The directory of the newest server's programs; Debian does not put them in PATH.
programs() {
    local found
    found=$(find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n 1)
    [ -n "$found" ] || found=$(command -v initdb || true)
    [ -z "$found" ] || dirname "$found"
}

install_packages() {
    [ -z "$(programs)" ] || return 0
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
        fail "there is none, and it is installed from here only as root on Debian: $HELP"
    exec 9>"$LOCK"
    flock 9
    [ -z "$(programs)" ] || return 0
    # Without the cluster that the package would make and start.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
    for try in 1 2 3 4 5; do
        if { apt-get update -qq &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql; } \
            >"$LOCK.log" 2>&1; then
            return
        fi
        echo "postgres: installing failed, trying again ($try of 5): $(tail -n 1 "$LOCK.log")" >&2
        sleep $((try * 3))
    done
    fail "could not install it (log: $LOCK.log): $HELP"
}

# PostgreSQL refuses to run as root.
as_user() {
    if [ "$(id -u)" = 0 ]; then
        (cd / && runuser -u "$(id -un postgres 2>/dev/null || echo nobody)" -- "$@")
    else
        "$@"
    fi
}

control() { as_user "$(programs)/pg_ctl" -D "$1/data" -l "$1/log" -w -t 60 -s "${@:2}" || fail "see $1/log"; }

start() {
    install_packages
    mkdir -p "$1"
    [ "$(id -u)" != 0 ] || chown "$(id -un postgres 2>/dev/null || echo nobody)" "$1"
    as_user "$(programs)/initdb" -D "$1/data" -U postgres -A trust -E UTF8 --locale=C -N >/dev/null
    as_user tee -a "$1/data/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
port = $2
unix_socket_directories = ''
fsync = ${POSTGRES_FSYNC:-off}
CONF
    control "$1" start
}

case "${1:-}" in
install) install_packages ;;
start) start "$2" "$3" ;;
restart) control "$2" restart -m fast ;;
stop) control "$2" stop -m immediate ;;
*) fail "usage: $0 install | start DIR PORT | restart DIR | stop DIR" ;;
esac
