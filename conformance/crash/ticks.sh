# An agent that ticks: before it says something, it notes that it does. Input: {"count": N, "burst": N}; after each burst it rests.
read -r start
job=${start#*\"job_id\":\"} job=${job%%\"*}
attempt=${start#*\"attempt\":} attempt=${attempt%%[,\}]*}
count=${start#*\"count\":} count=${count%%[,\}]*}
burst=${start#*\"burst\":} burst=${burst%%[,\}]*}
exec 3>>"$SENT/$job"
n=0
while [ "$n" -lt "$count" ]; do
    n=$((n + 1))
    printf '%s %s\n' "$attempt" "$n" >&3
    printf '{"type":"job.event","payload":{"kind":"x-tick","body":{"attempt":%s,"n":%s}}}\n' "$attempt" "$n"
    if [ $((n % burst)) -eq 0 ]; then sleep 0.01; fi
done
printf '{"type":"job.result","payload":{"result":{"attempt":%s,"n":%s}}}\n' "$attempt" "$n"
