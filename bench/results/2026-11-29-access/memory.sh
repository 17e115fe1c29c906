#!/usr/bin/env bash
# memory of an idle stream with and without tokens, slow openings
out=bench/results/2026-11-29-access
openssl rand -hex 32 > key
tok=$(target/release/fantail token mint --key-file key --algorithm HS256 --sub bench --channels 'bench-*' --expires-in 1day)
run() { # name flags query
  taskset -c 0 target/release/fantail serve --listen 127.0.0.1:18580 --internal-listen 127.0.0.1:18581 --workers 1 $2 2> node-$1.log & p=$!
  sleep 1
  taskset -c 1 target/debug/fantail-loadgen slope --server-pid $p --from 2000 --to 18000 --connect-rate 1000 --source-addresses 8 --open-deadline 90 --subscribe-url-template "http://127.0.0.1:18580/sse/{channel}$3" --publish-url-template "http://127.0.0.1:18581/publish/{channel}" --json "$out/memory-$1.json" > mem-$1.txt 2>&1
  echo "$1: $(grep 'memory per stream' mem-$1.txt)" | tee -a "$out/memory.txt"; kill $p; wait $p 2>/dev/null
}
rm -f "$out/memory.txt"
for r in 1 2; do run open-$r "--access open" ""; run HS256-$r "--access token --token-keys HS256:key --token-query token" "?token=$tok"; done
