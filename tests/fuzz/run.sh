#!/usr/bin/env bash
# Feeds parsers with hostile bytes: run.sh SECONDS [TARGET...] makes seeds, then runs each target for so long.
# Needs cargo-fuzz; what is found lies in target/fuzz/found/TARGET, and one input runs again with
#   target/fuzz/HOST/release/TARGET FILE
#
# Runs so far, with AddressSanitizer on a share of two cores (November 2026; seconds, executions):
#   modelfile    302  1,416,658
#   name         309  3,063,438
#   manifest     309  2,707,161
#   safetensors  309    109,570  `engine::check` panicked at static models: fixed
#   gguf         448     11,710  after 326 s and 6,162 before; 10 ms where words are cut as BERT does, 40 where pairs join
#   tokenizer    317      3,805  the library panicked at parts of a tokenizer.json that are damaged: an error now
# After the fixes safetensors ran 64 s (3,886) and tokenizer 63 s (404) more, and found nothing.
# All six once more with this script, 150 s each (2,998,592; 2,652,845; 711,843; 114,921; 4,878; 10,122): nothing.
# No timeouts, and nothing out of memory. Not looked for: PyTorch files, images, adapters. A tokenizer.json can still ask
# for much work with a pattern or with normalizers that multiply a text.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:?seconds for each target}
shift
[ $# -gt 0 ] || set -- name manifest modelfile safetensors gguf tokenizer

folder=$(mktemp -d "${FUZZ_TMP:-/dev/shm}/vecuna-fuzz.XXXXXX")
trap 'rm -rf "$folder" tests/fuzz/Cargo.lock' EXIT
# The versions that are shipped; the sanitizer is no part of a stable compiler.
cp Cargo.lock tests/fuzz/Cargo.lock
host=$(rustc -vV | sed -n 's/^host: //p')
for target in "$@"; do
    RUSTC_BOOTSTRAP=1 nice -n 19 cargo fuzz build --fuzz-dir tests/fuzz --target-dir target/fuzz "$target"
done
python3 tests/fuzz/seeds.py target/fuzz/seeds

for target in "$@"; do
    found=target/fuzz/found/$target corpus=target/fuzz/corpus/$target log=target/fuzz/$target.log
    mkdir -p "$found" "$corpus"
    # A process of its own for each few inputs, so that what stops one does not end the run.
    TMPDIR=$folder nice -n 19 "target/fuzz/$host/release/$target" -fork=1 -ignore_crashes=1 -ignore_ooms=1 \
        -ignore_timeouts=1 -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1500 -malloc_limit_mb=1000 \
        -print_funcs=0 -max_len=16384 -dict="target/fuzz/seeds/$target.dict" -artifact_prefix="$found/" \
        "$corpus" "target/fuzz/seeds/$target" >"$log" 2>&1 || true
    # Lines of the parent: #EXECUTIONS: cov: … oom/timeout/crash: 0/0/0 time: …
    printf '%s: %s\n' "$target" "$(grep -a '^#[0-9]*: cov' "$log" | tail -n 1)"
    find "$found" -type f
done
