#!/usr/bin/env bash
# Builds the image of one broker, unless the one that is there was made from the same files.
#
#   build.sh TAG DIRECTORY      for example: build.sh stomplistener/rabbitmq:3.10 rabbitmq
#
# The Dockerfiles start from debian:bookworm-slim. Where no registry is within reach, a base like it is made with
# debootstrap. What this machine needs to reach package registries (its certificate authorities, its Maven settings, its
# apt settings) goes into a copy of the build context, never into the repository.
# BASE=image puts in another base.
set -euo pipefail
cd "$(dirname "$0")/brokers"
TAG="$1"
DIRECTORY="$2"
UPSTREAM=debian:bookworm-slim
HOME_MADE=stomplistener/base:bookworm
LABEL=stomplistener.content
PATH="$PATH:/usr/sbin:/sbin"

say() { echo "images: $*"; }
fail() {
    echo "images: $*" >&2
    exit 1
}
present() { docker image inspect "$1" >/dev/null 2>&1; }

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
LOG="$WORK/log"

make_base() {
    command -v debootstrap >/dev/null || {
        [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get install -y -qq debootstrap >"$LOG" 2>&1
    } || fail "$UPSTREAM cannot be pulled, and there is no debootstrap to make a base image with: install debootstrap."
    [ "$(id -u)" = 0 ] || fail "$UPSTREAM cannot be pulled, and only root can make a base image with debootstrap."
    local root="$WORK/root" mirror try
    # Where this machine gets Debian from, debootstrap's own choice if it is another system.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 2>/dev/null | head -n 1 || true)
    say "making a base image with debootstrap ..."
    for try in 1 2 3; do
        rm -rf "$root"
        if debootstrap --variant=minbase bookworm "$root" ${mirror:+"$mirror"} >"$LOG" 2>&1; then break; fi
        [ "$try" -lt 3 ] || { tail -n 5 "$LOG" >&2 && fail "debootstrap fails."; }
        sleep $((try * 5))
    done
    apt-config dump 2>/dev/null | grep -E '^Acquire::(Check|http|https|ftp)' >"$root/etc/apt/apt.conf.d/90host" || true
    cat >"$root/etc/apt/apt.conf.d/80image" <<'APT'
Acquire::Retries "5";
Acquire::Languages "none";
APT
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* \
        "$root"/usr/share/{doc,man,locale,info}/* "$root"/var/log/*
    tar -C "$root" -c . | docker import - "$HOME_MADE" >/dev/null
}

choose_base() {
    if [ -n "${BASE:-}" ]; then return; fi
    BASE=$UPSTREAM
    if present "$UPSTREAM"; then return; fi
    if ! present "$HOME_MADE"; then
        if timeout 300 docker pull --quiet "$UPSTREAM" >/dev/null 2>&1; then return; fi
        make_base
    fi
    BASE=$HOME_MADE
}

[ -f "$DIRECTORY/Dockerfile" ] || fail "no Dockerfile in $PWD/$DIRECTORY."
CONTENT=$(find common "$DIRECTORY" -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-16)
CONTENT="$CONTENT${BASE:+-$BASE}"
[ "$(docker image inspect --format "{{index .Config.Labels \"$LABEL\"}}" "$TAG" 2>/dev/null)" != "$CONTENT" ] || exit 0

exec 9>"${TMPDIR:-/tmp}/stomplistener-images-$(id -u).lock"
flock 9
choose_base
mkdir "$WORK/context"
cp -R common "$DIRECTORY" "$WORK/context"
cp /usr/local/share/ca-certificates/*.crt "$WORK/context/common/ca/" 2>/dev/null || true
cp "$HOME/.m2/settings.xml" "$WORK/context/common/maven/" 2>/dev/null || true
arguments=(--network host --build-arg "BASE=$BASE" --label "$LABEL=$CONTENT" --tag "$TAG")
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [ -z "${!name:-}" ] || arguments+=(--build-arg "$name")
done
say "building $TAG ..."
for try in 1 2 3; do
    # The classic builder: Debian's engine comes without the plugin for the newer one.
    if DOCKER_BUILDKIT=0 docker build "${arguments[@]}" --file "$WORK/context/$DIRECTORY/Dockerfile" "$WORK/context" \
        >"$LOG" 2>&1; then
        say "built $TAG in $SECONDS s"
        exit 0
    fi
    tail -n 25 "$LOG" >&2
    say "building $TAG failed (try $try of 3)" >&2
    sleep $((try * 3))
done
exit 1
