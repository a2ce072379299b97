#!/usr/bin/env bash
# Runs a command beside a Docker engine that exists only for it: scripts/docker_engine.sh COMMAND [ARGUMENT...]
# Installs Debian's packages where they are missing. Where there can be no engine, the command runs all the same, and
# TEST_DOCKER_MISSING says why; otherwise DOCKER_HOST is its socket and TEST_DOCKER_IMAGE an image with busybox.
set -euo pipefail

without_docker() {
  export TEST_DOCKER_MISSING="$1"
  exec "${@:2}"
}

test "$(id -u)" = 0 || without_docker "a Docker engine of its own needs root" "$@"
if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null || ! test -x /bin/busybox; then
  command -v apt-get >/dev/null || without_docker "docker.io is not installed, and there is no apt" "$@"
  (apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io busybox-static) \
    >/dev/null 2>&1 || without_docker "apt could not install docker.io and busybox-static" "$@"
fi

engine=$(mktemp -d)
dockerd_pid=
stop() {
  status=$?
  trap - EXIT
  if test -n "$dockerd_pid"; then
    kill "$dockerd_pid" 2>/dev/null || true
    wait "$dockerd_pid" 2>/dev/null || true
  fi
  umount "$engine/exec/netns/default" 2>/dev/null || true
  rm -rf "$engine" 2>/dev/null || true
  exit "$status"
}
trap stop EXIT
trap 'exit 130' INT TERM

# No bridge and no rules: nothing here needs a network, and the machine's own stays as it is.
start_engine() {
  mkdir -p "$engine/data" "$engine/exec"
  dockerd --iptables=false --ip6tables=false --ip-masq=false --bridge=none --storage-driver="$1" \
    --data-root="$engine/data" --exec-root="$engine/exec" --pidfile="$engine/pid" -H "unix://$engine/socket" \
    >"$engine/log" 2>&1 &
  dockerd_pid=$!
  for _ in $(seq 150); do
    docker -H "unix://$engine/socket" version >/dev/null 2>&1 && return 0
    kill -0 "$dockerd_pid" 2>/dev/null || return 1
    sleep 0.2
  done
  kill "$dockerd_pid"
  return 1
}
# A folder that is itself on an overlay takes no second one: vfs copies instead, which is slow and always works.
if ! start_engine overlay2 && ! start_engine vfs; then
  why=$(tail -n 1 "$engine/log" | cut -c1-200)
  dockerd_pid=
  rm -rf "$engine" || true
  without_docker "dockerd does not start here: $why" "$@"
fi
export DOCKER_HOST="unix://$engine/socket" TEST_DOCKER_IMAGE=busybox-test:1

mkdir -p "$engine/image/bin" "$engine/image/tmp" "$engine/image/mnt"
chmod 1777 "$engine/image/tmp"
cp /bin/busybox "$engine/image/bin/busybox"
for applet in $(/bin/busybox --list); do
  test "$applet" = busybox || ln -sf busybox "$engine/image/bin/$applet"
done
tar -C "$engine/image" -c . | docker import - "$TEST_DOCKER_IMAGE" >/dev/null
"$@"
