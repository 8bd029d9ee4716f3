#!/bin/sh
# Without arguments, or with options, run the server; with a command (task, db, generate), run that.
set -eu

# A password from a mounted file, so that it need not stand in the environment of the container's description.
if [ -n "${SOFTPROMPT_DATABASE_PASSWORD_FILE:-}" ]; then
    PGPASSWORD=$(cat "$SOFTPROMPT_DATABASE_PASSWORD_FILE") # read by libpq where the URL has no password
    export PGPASSWORD
fi

case "${1:-}" in
    "" | -*) exec softprompt serve "$@" ;;
    *) exec softprompt "$@" ;;
esac
