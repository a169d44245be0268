#!/bin/sh
# Node for Windows under Wine, as a program for test-prebuild.mjs: WINE_NODE is the path of node.exe. A program under Wine
# cannot write into a pipe of this system, so that its output goes through files.
unset NODE_OPTIONS
SIGMATUNE_ADDON="Z:$(printf %s "$SIGMATUNE_ADDON" | tr / '\\')"
export SIGMATUNE_ADDON WINEDEBUG="${WINEDEBUG:--all}"
output=$(mktemp -d) || exit 1
wine "$WINE_NODE" "$@" </dev/null >"$output/stdout" 2>"$output/stderr"
status=$?
cat "$output/stdout"
cat "$output/stderr" >&2
rm -r "$output"
exit $status
