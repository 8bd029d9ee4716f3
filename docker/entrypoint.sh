#!/bin/sh
# Without arguments, or with options, run the server; with a command (task, generate), run that.
set -eu

case "${1:-}" in
    "" | -*) exec softprompt serve "$@" ;;
    *) exec softprompt "$@" ;;
esac
