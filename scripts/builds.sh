# The builds of build-test/, and how each is made; sourced by test, fuzz, soak and chaos, which
# say where the project is by their working directory.
#
#   gcc          release flags: what measures, and what is about processes, runs on it
#   asan         AddressSanitizer and UndefinedBehaviorSanitizer: unit and system tests
#   fuzz         the same with clang and its fuzzer: tests/fuzz
#   fuzz-short   that without optimisation, for runs of a few seconds: it is there in half the time
#
# In `asan` undefined behaviour is a trap, which AddressSanitizer reports with the line it was
# on (handle_sigill=1).  The messages of UndefinedBehaviorSanitizer's own runtime would cost
# 3 MB of pointers in the program, which each process looks through for leaks at its end:
# a test with one drover takes twice the time with them.  The fuzz builds have them.

# shellcheck disable=SC2034
sanitizer_env=(ASAN_OPTIONS=detect_leaks=1:handle_sigill=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1)

# build NAME [NINJA-TARGET]: quiet unless it fails.
build() {
	local name=$1 target=${2:-} dir=build-test/$1 compiler=gcc again=
	local options=()
	case $name in
	asan)
		local trap=-fsanitize-undefined-trap-on-error
		options=(-Db_sanitize=address,undefined -Doptimization=1 -Dc_args=$trap -Dc_link_args=$trap)
		;;
	fuzz | fuzz-short)
		compiler=clang
		options=(-Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1)
		[ "$name" = fuzz ] || options+=(-Doptimization=0)
		;;
	esac
	mkdir -p build-test
	# A source file that is new has to be noticed, and an option that has changed.
	if [ -f "$dir/build.ninja" ]; then
		again=--reconfigure
		meson configure "$dir" "${options[@]}" >"$dir.log" 2>&1 </dev/null || { cat "$dir.log"; return 1; }
	else
		rm -rf "${dir:?}"
	fi
	# shellcheck disable=SC2086
	CC=$compiler meson setup $again "$dir" . --werror "${options[@]}" >"$dir.log" 2>&1 </dev/null ||
		{ cat "$dir.log"; return 1; }
	# shellcheck disable=SC2086
	ninja -C "$dir" $target >"$dir.log" 2>&1 </dev/null || { grep -v '^\[' "$dir.log"; return 1; }
}
