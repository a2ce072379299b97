#!/usr/bin/env bash
# Runs a command beside a SLURM of one node that exists only for it: scripts/slurm_node.sh COMMAND [ARGUMENT...]
# Installs Debian's packages where they are missing. Where there can be no SLURM, the command runs all the same, and
# TEST_SLURM_MISSING says why; otherwise TEST_SLURM_NODE is the node's folder.
set -euo pipefail

without_slurm() {
  export TEST_SLURM_MISSING="$1"
  exec "${@:2}"
}

installed=yes
for program in munged slurmctld slurmd sbatch srun squeue scancel; do
  command -v "$program" >/dev/null || installed=no
done
if test "$installed" = no; then
  test "$(id -u)" = 0 || without_slurm "slurm-wlm and munge are not installed, and only root can install them" "$@"
  command -v apt-get >/dev/null || without_slurm "slurm-wlm and munge are not installed, and there is no apt" "$@"
  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge) \
    >/dev/null || without_slurm "apt could not install slurm-wlm and munge" "$@"
fi
test "$(id -u)" = 0 || without_slurm "the daemons of a SLURM node need root" "$@"

node=$(mktemp -d)
daemons=()
stop() {
  status=$?
  trap - EXIT
  scancel --user="$(id -un)" 2>/dev/null || true
  for _ in $(seq 50); do
    test -n "$(squeue --noheader 2>/dev/null)" || break
    sleep 0.2
  done
  for pid in "${daemons[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  if test "$status" != 0; then
    echo "last lines of the daemons' logs:" >&2
    tail -n 5 "$node"/*.log >&2 || true
  fi
  rm -rf "$node"
  exit "$status"
}
trap stop EXIT
trap 'exit 130' INT TERM

free_ports() {
  python3 -c 'import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in sockets))'
}
read -r controller_port node_port <<<"$(free_ports)"
mkdir "$node/state" "$node/spool"
cat >"$node/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmctldPort=$controller_port
SlurmdPort=$node_port
AuthInfo=socket=$node/munge.socket
CredType=cred/munge
StateSaveLocation=$node/state
SlurmdSpoolDir=$node/spool
SlurmctldPidFile=$node/slurmctld.pid
SlurmdPidFile=$node/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
MpiDefault=none
ReturnToService=2
KillWait=5
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0
NodeName=localhost NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$node/slurm.conf" TEST_SLURM_NODE="$node"

head -c 1024 /dev/urandom >"$node/munge.key"
chmod 600 "$node/munge.key"
munged --foreground --force --key-file="$node/munge.key" --socket="$node/munge.socket" --pid-file="$node/munged.pid" \
  --log-file="$node/munged-own.log" --seed-file="$node/munged.seed" >"$node/munged.log" 2>&1 &
daemons+=($!)
slurmctld -D -f "$SLURM_CONF" >"$node/slurmctld.log" 2>&1 &
daemons+=($!)
slurmd -D -N localhost -f "$SLURM_CONF" >"$node/slurmd.log" 2>&1 &
daemons+=($!)
for _ in $(seq 150); do
  test "$(sinfo --noheader --format=%T 2>/dev/null)" != idle || break
  sleep 0.2
done
if test "$(sinfo --noheader --format=%T 2>/dev/null)" != idle; then
  echo "error: the SLURM node did not come up" >&2
  exit 1
fi
"$@"
