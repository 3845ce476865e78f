#!/usr/bin/env bash
# Train side by side, each on a GPU of its own:
#   tools/parallel.sh [HOW_MANY_AT_A_TIME [study | suspects]]
#
# Trains the experiments; with `study`, the runs of research/ablation; with `suspects`, the folds of
# research/labels. Uses the GPUs in CUDA_VISIBLE_DEVICES, or all, one training per GPU by default.
# Without a GPU it runs one training per physical core: many trainings of one thread each are faster
# than one after another with many threads.
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-1} in *[!0-9]* | 0*)
  echo "parallel: JOBS = $1: must be a number above 0" >&2
  exit 1
  ;;
esac
gpus=${CUDA_VISIBLE_DEVICES-$({ nvidia-smi --list-gpus 2>/dev/null || true; } |
  sed -n 's/^GPU \([0-9]*\):.*/\1/p' | paste -sd,)}
number=$(tr , '\n' <<<"$gpus" | grep -c . || true)
if [ "${2:-}" = study ]; then
  dvc repro download # the ablation, a project of its own, packs the root's archives
  cd research/ablation
  data=pack trainings='@.*-[0-9]+$' # of each design: CELL-SEED
elif [ "${2:-}" = suspects ]; then
  dvc repro preprocess
  cd research/labels
  data=code trainings='^fold@'
else
  data=preprocess trainings='^train@'
fi
# Run `code` explicitly: --single-item below reads its outputs but does not run it.
dvc repro code "$data"
trainings=$(dvc stage list --name-only | grep -E "$trainings")
# Physical cores, as torch counts them, limited to those that this process may use.
cores=$(python -c 'import os, psutil
here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
print(min(psutil.cpu_count(logical=False) or here, here))')
jobs=${1:-$((number > 0 ? number : cores))}
threads=${OMP_NUM_THREADS:-}
if [ "$number" -eq 0 ] && [ -z "$threads" ]; then
  # `threads: auto` can take no more than a training's share of the cores, whatever the others do
  # while it measures: with as many trainings as cores, each takes one thread.
  side_by_side=$(wc -l <<<"$trainings")
  side_by_side=$((jobs > 0 && jobs < side_by_side ? jobs : side_by_side))
  threads=$((cores > side_by_side ? cores / side_by_side : 1))
fi
# A free slot takes the next training; a GPU has several slots if more jobs than GPUs are asked for.
export gpus number threads
xargs -P "$jobs" --process-slot-var=SLOT -I{} bash -c '
  if [ "$number" -gt 0 ]; then
    export CUDA_VISIBLE_DEVICES=$(cut -d, -f$((SLOT % number + 1)) <<<"$gpus")
  fi
  if [ -n "$threads" ]; then
    export OMP_NUM_THREADS=$threads
  fi
  # Exit with 1, so that the others go on when one fails: xargs would stop at the 255 of dvc.
  dvc --wait-for-lock repro --single-item {} || exit 1' <<<"$trainings"
dvc repro
