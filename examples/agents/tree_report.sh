#!/bin/sh
# tree_report.py where there is no Python: POSIX sh, find, awk, sed, sort, tr, wc. Input {"path": ".", "top": 10}, both
# optional; path must lie in the working directory. Directories that it may not read are named on stderr only.
export LC_ALL=C
UTF8='[\302-\337]T|\340[\240-\277]T|[\341-\354\356\357]TT|\355[\200-\237]T|\360[\220-\277]TT|[\361-\363]TTT|\364[\200-\217]TT'
UTF8=$(printf '%s' "$UTF8" | sed 's/T/[\\200-\\277]/g')
LIB='function tidy(s) { if (s ~ /[\200-\377]/ && s !~ /^([\001-\177]|'$UTF8')*$/) gsub(/[\200-\377]/, "?", s); return s }
function json(s, i) { s = tidy(s); gsub(/["\\]/, "\\\\&", s)
    for (i = 1; i < 32 && s ~ /[\001-\037]/; i++) gsub(sprintf("%c", i), sprintf("\\u%04x", i), s); return s }
function code(s) { s = tidy(s); gsub(/[\001-\037\177`]/, "?", s); gsub(/[|]/, "\\\\&", s); return "`" s "`" }
function hex(s, i, n) { for (i = 1; i < 5; i++) n = n * 16 + index("123456789abcdef", tolower(substr(s, i, 1))); return n }
function utf8(n) { return n < 128 ? sprintf("%c", n) : n < 2048 ? sprintf("%c%c", 192 + int(n / 64), 128 + n % 64) : \
    sprintf("%c%c%c", 224 + int(n / 4096), 128 + int(n / 64) % 64, 128 + n % 64) }
function text(s, out, c) {  # what a JSON string says; its \\ and \" have become \001 and \002
    for (; match(s, /\\./); out = out c) {
        out = out substr(s, 1, RSTART - 1); c = substr(s, RSTART + 1, 1); s = substr(s, RSTART + 2)
        if (c == "u") { c = utf8(hex(s)); s = substr(s, 5) } else if (c != "/") c = substr("\t\r\n", index("trn", c), 1) }
    out = out s; gsub(/\001/, "\\", out); gsub(/\002/, "\"", out); return out }'
quote() { TEXT=$1 awk "$LIB"'BEGIN { print "\"" json(ENVIRON["TEXT"]) "\"" }'; }
event() { printf '{"type":"job.event","payload":{"kind":"%s","body":{%s}}}\n' "$1" "$2"; }
fail() { printf '{"type":"job.error","payload":{"code":"%s","message":"%s","retryable":false}}\n' "$1" "$2"; exit 0; }
table() { printf '\n## %s\n\n%s\n%s\n' "$1" "$2" "$(echo "$2" | sed 's/[^|]\{1,\}/ --- /g')"; cat; }

IFS= read -r start
tmp=$(mktemp -d) || fail INTERNAL_ERROR 'there is no temporary directory'
trap 'kill $reader $work 2>/dev/null; rm -rf "$tmp"' EXIT
trap 'trap "" USR1; fail CANCELLED "cancelled by the daemon"' USR1
exec 3<&0
while IFS= read -r line; do case $line in
    *'"job.cancel"'*) kill -USR1 $$ ;;
    *'"ping"'*) printf '%s\n' "$line" | sed -n 's/.*\("payload" *: *{[^}]*}\).*/{"type":"pong",\1}/p' ;;
esac done <&3 2>/dev/null & reader=$!

given=$(printf '%s\n' "$start" | awk "$LIB"'{
    path = "."; top = 10; gsub(/\\\\/, "\001"); gsub(/\\"/, "\002"); n = split($0, part, "\"")
    for (i = 1; i <= n; i += 2) {  # the odd parts are what stands between the strings
        if (part[i] ~ /^[ \t]*:/) { key[depth] = part[i - 1]; at = key[1] "." key[2] "." (depth > 2 ? key[3] : "") depth
            value = part[i]; sub(/^[ \t]*:[ \t]*/, "", value); sub(/[ \t]*[],}].*/, "", value)
            if (at == "payload.input.2") bad += value !~ /^([{]|null$)/
            if (at == "payload.input.top3") { top = value; bad += top !~ /^[0-9]+$/ || top + 0 < 1 || top + 0 > 1000 }
            if (at == "payload.input.path3") { path = text(part[i + 1]); bad += value != "" } }
        depth += gsub(/[[{]/, "", part[i]) - gsub(/[]}]/, "", part[i]) }
    if (!bad) printf "%d/%sx", top, path }')
top=${given%%/*} path=${given#*/} here=$(pwd -P)
path=${path%x}
case $path in /*) root=$path ;; *) root=./$path ;; esac
[ "$path" ] && [ -d "$root" ] && cd -P "$root" && case $(pwd -P)/ in "${here%/}"/*) ;; *) false ;; esac ||
    fail INVALID_REQUEST 'path must be a directory in the working directory, top 1 to 1000'
event log "\"level\":\"info\",\"message\":$(quote "reporting on $path")"
find . -type d ! -name . \( -name '.*' -o -name target -o -name node_modules -o -name __pycache__ \) -prune -o -type f \
    -exec awk 'BEGIN { while (++i < ARGC) { gsub(/\n/, "//:", ARGV[i]); print ARGV[i] } }' {} + >"$tmp/list" & work=$!
wait $work
sort "$tmp/list" >"$tmp/files"
: >"$tmp/found"
total=$(($(wc -l <"$tmp/files"))) number=0 failed=0
while IFS= read -r file <&4; do
    number=$((number + 1))
    case $file in *//:*) file=$(echo "$file" | awk '{ gsub("//:", "\n"); printf "%sx", $0 }') file=${file%x} ;; esac
    if [ -r "$file" ]; then
        { wc -c <"$file"; tr '\000' '\001' <"$file"; } | NAME=${file#./} awk "$LIB"'BEGIN { name = ENVIRON["NAME"] }
            NR == 1 { bytes = $1; next }
            /\001/ { binary = 1 }
            match($0, /(^|[^A-Za-z0-9_])(TODO|FIXME)([^A-Za-z0-9_]|$)/) {
                s = substr($0, RSTART, 120); sub(/^[^TF]/, "", s); sub(/\r$/, "", s)
                if (length(s) > 118) sub(/[\300-\377][\200-\277]*$/, "", s)
                notes = notes "N\t| " code(name ":" (NR - 1)) " | " code(s) " |\n" }
            END { kind = name; if (!sub(/.*[^\/]\./, "", kind) || kind ~ /\//) kind = "none"
                printf "F\t%s\t%d\t%d\t%s\n", code(binary ? "(binary)" : kind), binary ? 0 : NR - 1, bytes, code(name)
                if (!binary) printf "%s", notes }' >>"$tmp/found" & work=$!
        wait $work
    elif failed=$((failed + 1)) && [ $failed -le 20 ]; then
        event log "\"level\":\"warn\",\"message\":$(quote "cannot read $file")"
    fi
    [ $((number % (total / 50 + 1))) -ne 0 ] && [ $number -ne $total ] ||
        event progress "\"current\":$number,\"total\":$total,\"units\":\"files\",\"message\":$(quote "$file")"
done 4<"$tmp/files"
event metric "\"name\":\"cost.scan\",\"value\":$(awk "BEGIN { printf \"%.4f\", $total * 0.0001 }"),\"unit\":\"USD\""
trap '' USR1  # too late for a cancel
summary=$(awk -F '\t' -v f="$failed" '/^F/ { n++; l += $3; b += $4 }
    END { printf "%d files, %d lines, %d bytes, %d unreadable", n, l, b, f }' "$tmp/found")
{ printf '# Source tree report\n\n%s\n' "$summary"
  awk -F '\t' '/^F/ { n[$2]++; l[$2] += $3; b[$2] += $4 }
      END { for (x in n) printf "| %s | %d | %d | %d |\n", x, n[x], l[x], b[x] }' "$tmp/found" | sort |
      table Languages '| name ends in | files | lines | bytes |'
  grep '^F' "$tmp/found" | sort -t "$(printf '\t')" -k4,4nr | head -n "$top" |
      awk -F '\t' '{ print "| " $5 " | " $3 " | " $4 " |" }' | table 'Largest files' '| file | lines | bytes |'
  sed -n 's/^N.//p' "$tmp/found" | head -n 100 | table 'Notes, the first 100' '| where | note |'
} | awk "$LIB"'
    function chunk(more) { print "{\"type\":\"job.event\",\"payload\":{\"kind\":\"result_chunk\",\"body\":{" \
        "\"data\":\"" data "\",\"encoding\":\"utf8\",\"more\":" more "}}}"; fflush(); data = "" }
    { if (length(data) > 3000) chunk("true"); data = data json($0) "\\n" }
    END { chunk("false") }'
printf '{"type":"job.result","payload":{"summary":"%s"}}\n' "$summary"
