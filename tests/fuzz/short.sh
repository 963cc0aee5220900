#!/bin/sh
# The run that belongs to the tests: one target, a few seconds, always the same seed.
#
#   short.sh PROGRAM TARGET LONGEST-INPUT DICTIONARY
#
# Starts from the wire cases and the corpus beside this file and leaves both alone.
set -eu
program=$(realpath "$1") target=$2 longest=$3 dictionary=$4
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p new "seeds/$target"
python3 "$here/seeds.py" seeds
# An input that fails is kept beside the program.
"$program" -seed=1 -max_total_time="${DROVER_FUZZ_SECONDS:-3}" -max_len="$longest" -timeout=60 \
	-rss_limit_mb=2048 -dict="$here/$dictionary.dict" -artifact_prefix="$(dirname "$program")/$target-" \
	-error_exitcode=1 -print_final_stats=1 "$work/new" "$work/seeds/$target" "$here/corpus/$target"
