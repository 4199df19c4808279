#!/bin/sh
# Counts down, one number a second, and stops at once when it is cancelled. Input {"from": 5}, optional.
send() { printf '{"type":"%s","payload":{%s}}\n' "$1" "$2"; }
fail() { send job.error "\"code\":\"$1\",\"message\":\"$2\""; exit 0; }

IFS= read -r start # the job.start line
from=5
case $start in *'"from"'*)
    from=$(printf '%s\n' "$start" | sed -n 's/.*"from" *: *\([0-9]\{1,3\}\) *[,}].*/\1/p')
    [ "$from" ] || fail INVALID_REQUEST 'from must be a number from 0 to 999' ;;
esac
trap 'kill $reader $nap 2>/dev/null' EXIT # leaves no process behind
trap 'fail CANCELLED "cancelled with $left to go"' USR1
exec 3<&0 # a process in the background has no stdin of its own
while IFS= read -r line; do case $line in
    *'"job.cancel"'*) kill -USR1 $$ ;;
    *'"ping"'*) printf '%s\n' "$line" | sed -n 's/.*\("payload" *: *{[^}]*}\).*/{"type":"pong",\1}/p' ;;
esac done <&3 & reader=$!

left=$from
while [ "$left" -gt 0 ]; do
    send job.event "\"kind\":\"progress\",\"body\":{\"current\":$((from - left)),\"total\":$from,\"message\":\"$left to go\"}"
    sleep 1 & nap=$!
    wait $nap # a trap waits for a command, but not for `wait`
    left=$((left - 1))
done
trap '' USR1 # too late for a cancel
send job.result "\"result\":{\"counted\":$from}"
