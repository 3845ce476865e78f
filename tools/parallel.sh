#!/usr/bin/env bash
# Train side by side, each on a GPU of its own:
#   tools/parallel.sh [HOW_MANY_AT_A_TIME [study | suspects]]
#
# The experiments, with `study` the runs of research/ablation, with `suspects` the folds of
# research/labels. On the GPUs that CUDA_VISIBLE_DEVICES lists, or all; without a GPU, on the CPU
# that all share.
set -euo pipefail
cd "$(dirname "$0")/.."
gpus=${CUDA_VISIBLE_DEVICES-$({ nvidia-smi --list-gpus 2>/dev/null || true; } |
  sed -n 's/^GPU \([0-9]*\):.*/\1/p' | paste -sd,)}
number=$(tr , '\n' <<<"$gpus" | grep -c . || true)
if [ "${2:-}" = study ]; then
  dvc repro download # the ablation, a project of its own, packs the root's archives
  cd research/ablation
  data=pack trainings='^(factorial|published)@'
elif [ "${2:-}" = suspects ]; then
  dvc repro preprocess
  cd research/labels
  data=code trainings='^fold@'
else
  data=preprocess trainings='^train@'
fi
# `code` by name: --single-item below looks at what it wrote, and does not run it.
dvc repro code "$data"
# A slot that is free takes the next training; several slots a GPU where more are asked for.
export gpus number
dvc stage list --name-only | grep -E "$trainings" |
  xargs -P "${1:-$((number > 0 ? number : 1))}" --process-slot-var=SLOT -I{} bash -c '
    if [ "$number" -gt 0 ]; then
      export CUDA_VISIBLE_DEVICES=$(cut -d, -f$((SLOT % number + 1)) <<<"$gpus")
    fi
    # The others go on when one fails; xargs would stop at the 255 that dvc ends with.
    dvc --wait-for-lock repro --single-item {} || exit 1'
dvc repro
