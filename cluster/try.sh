#!/usr/bin/env bash
# Try submit.sh on a real Slurm: a cluster of this machine alone, with drawn data as in `make demo`.
#
# For Debian, as root; installs slurm-wlm and munge. Run it in a clone with .venv set up.
set -euo pipefail
cd "$(dirname "$0")/.."
source_repository=$PWD
export DEBIAN_FRONTEND=noninteractive
{ command -v slurmctld && command -v munged; } >/dev/null || {
  apt-get update -qq
  apt-get install -qq -y --no-install-recommends slurm-wlm munge >/dev/null
}
work=$(mktemp -d)
mkdir "$work/state" "$work/spool" /run/munge 2>/dev/null || true
chown munge: /run/munge
cat >"$work/slurm.conf" <<END
ClusterName=try
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
END
export SLURM_CONF=$work/slurm.conf
stop() {
  for daemon in slurmd slurmctld; do
    [ ! -e "$work/$daemon.pid" ] || kill "$(cat "$work/$daemon.pid")" || true
  done
  [ -z "${munged:-}" ] || pkill munged || true
  rm -rf "$work"
}
trap stop EXIT
pgrep munged >/dev/null || { runuser -u munge -- munged && munged=ours; }
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF"
for _ in $(seq 30); do
  sinfo -h -o %T | grep -q idle && break
  sleep 1
done
sinfo

git clone -q "$source_repository" "$work/repo"
cd "$work/repo"
ln -s "$source_repository/.venv" .venv
. .venv/bin/activate
git config user.name try
git config user.email try@example.org
sed -i 's/source: official/source: synthetic/; s/image_size: 128/image_size: 64/; s/epochs: 15/epochs: 4/' params.yaml
git commit -q -a -m "Drawn data"
cluster/submit.sh --cpus-per-task=1 >"$work/gathered.log" &
submitted=$!
# Interrupt the first task once it has a checkpoint: Slurm requeues it, and the training resumes.
until grep -q "epoch 1/4" slurm-*_0.out 2>/dev/null || ! kill -0 "$submitted"; do sleep 0.2; done
scontrol requeue "$(squeue -h -o %F | head -n 1)_0"
wait "$submitted"
cat "$work/gathered.log"
python -m tools.table
number=$(dvc stage list --name-only train | wc -l)
trained=$(grep -l "Running stage 'train@" slurm-*_*.out | wc -l)
here=$(grep -c "Running stage 'train@" "$work/gathered.log" || true)
echo "of $number trainings $trained ran as Slurm tasks, $here while gathering"
grep -h "resumes after epoch" slurm-*_0.out
[ "$trained" = "$number" ]
[ "$here" = 0 ]
# Only `code`, which always runs, is left to run.
[ "$(dvc repro --dry | grep -c 'Running stage')" = 1 ]
