#!/usr/bin/env bash
# Train the experiments side by side, each on a GPU of its own: tools/parallel.sh [HOW_MANY_AT_A_TIME]
set -euo pipefail
cd "$(dirname "$0")/.."
gpus=$({ nvidia-smi --list-gpus 2>/dev/null || true; } | wc -l)
jobs=${1:-$((gpus > 0 ? gpus : 1))}
dvc repro preprocess
# Slots are numbered from 0, as GPUs are; a slot that is free takes the next experiment.
dvc stage list --name-only train | xargs -P "$jobs" --process-slot-var=SLOT -I{} \
  bash -c 'CUDA_VISIBLE_DEVICES=$SLOT exec dvc repro --single-item {}'
dvc repro
