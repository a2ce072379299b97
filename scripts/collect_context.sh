#!/bin/sh
# What somebody who starts a session needs to know, on one screen and under a stated budget of tokens.
# Usage: scripts/collect_context.sh [--budget TOKENS]. Works in a fresh clone: git and python3, no environment.
set -eu
if ! command -v python3 >/dev/null 2>&1; then
    echo "collect_context.sh needs python3 (3.11 or newer) on the PATH; install it and run again." >&2
    exit 1
fi
exec python3 -I -S -B "$(dirname "$0")/collect_context.py" "$@"
