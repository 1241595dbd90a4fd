#!/usr/bin/env bash
# Exactness, B1, B2 and B8 on one CUDA GPU, in less than nine minutes. Run from the repository's root.
#
#   bash benchmarks/gpu.sh pack         where there is a registry: brings along the three small packages that Postil needs
#                                       beside torch, transformers and peft, into build/gpu/site (45 MB,
#                                       for the version of Python that it is run with)
#   bash benchmarks/gpu.sh [OUT]        on the GPU's machine: figures as JSON and logs go to OUT (build/gpu/out)
#   bash benchmarks/gpu.sh trial [OUT]  the same road on a CPU with tiny shapes: says that the script works, nothing more
#
# Each part has a time limit of its own, and one that fails does not keep the others from running; ends with 1 then.
set -u
PYTHON="${PYTHON:-python3}"
[ -x .venv/bin/python ] && PYTHON=.venv/bin/python
SITE=build/gpu/site

if [ "${1:-}" = pack ]; then
    exec "$PYTHON" -m pip install --quiet --upgrade --only-binary :all: --constraint constraints.txt \
        --target "$SITE" pydantic msgspec Babel
fi

DEVICE=cuda PATIENCE=1 STEP=() EXACT=() BIG=()
if [ "${1:-}" = trial ]; then
    shift
    DEVICE=cpu PATIENCE=20
    STEP=(--layers 1 --dtype bf16 --rounds 1) EXACT=(--layers 1) BIG=(--tiny --tokens 4096 --pack 1024)
fi
OUT="${1:-build/gpu/out}"
mkdir -p "$OUT"
export POSTIL_BENCH_SITE="$PWD/$SITE" PYTHONPATH="$PWD:$PWD/$SITE" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
FAILED=0

part() { # name, seconds, module and its arguments
    local name="$1" limit="$2"
    shift 2
    echo "== $name"
    timeout "$((limit * PATIENCE))" "$PYTHON" -m "$@" --json "$OUT/$name.json" 2>&1 | tee "$OUT/$name.log"
    local code="${PIPESTATUS[0]}"
    [ "$code" = 0 ] || { echo "$name ended with $code"; FAILED=1; }
}

part exactness 110 benchmarks.gpu exactness --device "$DEVICE" "${EXACT[@]}"
part B1 150 benchmarks.step --device "$DEVICE" --benchmark B1 --arms plain,plain_dynamic,postil "${STEP[@]}"
part B2 120 benchmarks.step --device "$DEVICE" --benchmark B2 --arms plain,plain_dynamic,postil "${STEP[@]}"
part B8 140 benchmarks.gpu b8 --device "$DEVICE" "${BIG[@]}"
exit "$FAILED"
