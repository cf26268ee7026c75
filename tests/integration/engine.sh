#!/usr/bin/env bash
# A Docker engine for the tests on real brokers, on a machine that may have none.
#
#   engine.sh start    use the engine that answers; else install Debian's (as root) and start it
#   engine.sh stop     end the engine that `start` has started, and no other
#   engine.sh status   say which engine answers; exit status 1 where none does
set -euo pipefail

STATE="${XDG_RUNTIME_DIR:-/tmp}/stomplistener-engine-$(id -u)"
PIDFILE="$STATE/dockerd.pid"
LOG="$STATE/dockerd.log"
HELP="install Docker (https://docs.docker.com/engine/install/), start it, and see that \`docker version\` answers"
PATH="$PATH:/usr/sbin:/sbin" # where dockerd and iptables are

say() { echo "engine: $*"; }
fail() {
    echo "engine: $*" >&2
    exit 1
}

server_version() { docker version --format '{{.Server.Version}}' 2>/dev/null; }

# Whether the process with this id is what its pid file claims (ids are used again) and more than a zombie.
runs() {
    [ -n "$1" ] && [ "$(cat "/proc/$1/comm" 2>/dev/null)" = "$2" ] && ! grep -q '^State:.Z' "/proc/$1/status"
}

own_pid() { cat "$PIDFILE" 2>/dev/null || true; }

install_packages() {
    command -v dockerd >/dev/null && command -v iptables >/dev/null && command -v docker >/dev/null && return
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
        fail "no Docker engine answers, and one is installed from here only as root on Debian: $HELP."
    say "installing Debian's docker.io ..."
    local packages=(docker.io iptables ca-certificates debootstrap)
    for try in 1 2 3 4 5; do
        if { apt-get update -qq &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"; } \
            >"$STATE/install.log" 2>&1; then
            return
        fi
        say "that failed, trying again ($try of 5): $(tail -n 1 "$STATE/install.log")" >&2
        sleep $((try * 3))
    done
    fail "could not install ${packages[*]} (log: $STATE/install.log): $HELP."
}

# An engine that was killed leaves pid files: the next one refuses to start, or waits for a stranger that has the old
# number now.
sweep() {
    local pid file
    for pid in $(pgrep -x dockerd || true); do
        ! runs "$pid" dockerd || return 0
    done
    for file in "$PIDFILE" /var/run/docker.pid; do
        runs "$(cat "$file" 2>/dev/null)" dockerd || rm -f "$file"
    done
    file=/var/run/docker/containerd/containerd.pid
    runs "$(cat "$file" 2>/dev/null)" containerd || rm -f "$file"
}

start() {
    local version
    if version=$(server_version); then
        say "Docker $version is running"
        return
    fi
    [ -z "${DOCKER_HOST:-}" ] || fail "no engine answers at DOCKER_HOST=$DOCKER_HOST: start it there, or unset DOCKER_HOST."
    mkdir -p "$STATE"
    exec 9>"$STATE/lock"
    flock 9 # two starts at once: the second finds the engine of the first
    install_packages
    if [ -d /run/systemd/system ]; then # installing may have started it; systemd's engines are systemd's to run
        server_version >/dev/null || systemctl start docker >/dev/null 2>&1 || true
    fi
    if ! server_version >/dev/null; then
        [ "$(id -u)" = 0 ] || fail "no Docker engine answers, and only root can start one: $HELP."
        sweep
        say "starting dockerd, log in $LOG"
        setsid nohup dockerd --pidfile "$PIDFILE" >"$LOG" 2>&1 </dev/null 9>&- &
        local pid=$!
        for _ in $(seq 120); do
            server_version >/dev/null && break
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.5
        done
    fi
    if ! version=$(server_version); then
        [ -f "$LOG" ] && tail -n 20 "$LOG" >&2
        fail "the Docker engine does not start (log: $LOG): $HELP."
    fi
    say "Docker $version is running"
}

stop() {
    local pid
    pid=$(own_pid)
    if ! runs "$pid" dockerd; then
        say "no engine of ours is running"
        return
    fi
    kill "$pid"
    for _ in $(seq 120); do
        if ! runs "$pid" dockerd; then
            rm -f "$PIDFILE"
            say "stopped"
            return
        fi
        sleep 0.5
    done
    fail "dockerd ($pid) does not end; its log: $LOG"
}

status() {
    local version owner="not started by this script"
    version=$(server_version) || fail "none answers: run '$0 start', or $HELP."
    runs "$(own_pid)" dockerd && owner="started by this script, log in $LOG"
    say "Docker $version is running, $owner"
}

case "${1:-}" in
start | stop | status) "$1" ;;
*) fail "usage: $0 start|stop|status" ;;
esac
