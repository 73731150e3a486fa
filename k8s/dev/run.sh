#!/bin/sh
# Runs the program of the image, or a newer one that lies in /live. Told to begin again (a file `again` there, then SIGTERM), it
# lets the program drain and starts what lies there by then; else it ends as the program does.
set -u
built=${BUILT:-/usr/local/bin}/$SERVICE
live=${LIVE:-/live}
# A Job has no such folder, and nothing is put into it.
[ -w "$live" ] || exec "$built" "$@"

stopped= signalled=
trap 'stopped=yes signalled=yes; kill -TERM "$child" 2>/dev/null' TERM INT
while :; do
    program=$built
    [ ! -x "$live/$SERVICE" ] || program=$live/$SERVICE
    rm -f "$live/again"
    "$program" "$@" &
    child=$!
    echo "$child" > "$live/pid"
    wait "$child"
    code=$?
    # A signal ends the waiting before the program has ended. 127: it had ended.
    while [ -n "$signalled" ]; do
        signalled=
        wait "$child"
        again=$?
        [ "$again" -eq 127 ] || code=$again
    done
    [ -e "$live/again" ] && [ -z "$stopped" ] || exit "$code"
done
