#!/bin/sh
# Without arguments, or with options, run the server; with a command (task, db, generate), run that.
set -eu

# Secrets from mounted files, so that they need not stand in the environment of the container's description.
if [ -n "${SOFTPROMPT_API_KEY_FILE:-}" ]; then
    SOFTPROMPT_API_KEY=$(cat "$SOFTPROMPT_API_KEY_FILE")
    export SOFTPROMPT_API_KEY
fi
if [ -n "${SOFTPROMPT_DATABASE_PASSWORD_FILE:-}" ]; then
    PGPASSWORD=$(cat "$SOFTPROMPT_DATABASE_PASSWORD_FILE") # read by libpq where the URL has no password
    export PGPASSWORD
fi

case "${1:-}" in
    "" | -*) exec softprompt serve "$@" ;;
    *) exec softprompt "$@" ;;
esac
