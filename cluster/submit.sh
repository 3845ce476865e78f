#!/usr/bin/env bash
# Train all experiments as a Slurm job array, then gather the results: cluster/submit.sh
#
# Run it in a clone that all nodes see, with .venv set up. It trains what is committed. Arguments go
# to sbatch: cluster/submit.sh --gres=gpu:1 -p main
set -euo pipefail
cd "$(dirname "$0")/.."
. .venv/bin/activate

unchanged() { [ -z "$(git status --porcelain -- params.yaml dvc.yaml stages unet)" ]; }
if ! unchanged; then
  echo "submit: params.yaml, dvc.yaml or code differ from the last commit: commit them first" >&2
  exit 1
fi
dvc repro preprocess
# The clones of the tasks get dvc.lock and code/ from Git.
if ! git diff --quiet HEAD -- dvc.lock code; then
  git commit -q -m "The data and code of this run" dvc.lock code
fi
UNET_COMMIT=$(git rev-parse HEAD) # tasks that start late must not use a later commit
UNET_KEYS=$(dvc stage list --name-only train | sed 's/^train@//' | xargs)
export UNET_COMMIT UNET_KEYS
number=$(wc -w <<<"$UNET_KEYS")
sbatch --wait --array="0-$((number - 1))" "$@" cluster/train.sbatch
if [ "$(git rev-parse HEAD)" != "$UNET_COMMIT" ] || ! unchanged; then
  echo "submit: all is trained, but this clone changed meanwhile: git checkout $UNET_COMMIT and" \
    "dvc repro gather it" >&2
  exit 1
fi
# The trainings come from the run-cache; evaluation and pictures run here.
dvc repro
