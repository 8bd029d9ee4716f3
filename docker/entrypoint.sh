#!/bin/sh
# Without arguments, or with options, run the server; with a command (task, generate), run that.
set -eu

# A key from a mounted secret, so that it need not stand in the environment of the container's description.
if [ -n "${SOFTPROMPT_API_KEY_FILE:-}" ]; then
    SOFTPROMPT_API_KEY=$(cat "$SOFTPROMPT_API_KEY_FILE")
    export SOFTPROMPT_API_KEY
fi

case "${1:-}" in
    "" | -*) exec softprompt serve "$@" ;;
    *) exec softprompt "$@" ;;
esac
