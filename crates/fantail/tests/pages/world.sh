# A small world for the commands of a page: the addresses, names and files that the pages mention. It has a network, mounts and
# processes of its own, so that ports are those of the page, and nothing of it stays. Begun by bash with these variables:
#
#   PROGRAM   the built fantail
#   WORK      an empty folder, in which the commands run
#   PROGRAMS  a folder with more programs
#   CLONE     this repository, of which the folder shows the examples
#
# The commands of the page follow, each as `serves`, `stays`, `reads` or `runs` with the command as one word.
# shellcheck shell=bash disable=SC2016
set -euo pipefail
PATIENCE=30
code=0
cd "$WORK"
HOME=$WORK
export HOME
failure='the world could not be made'
trap 'code=$?; [ $code = 0 ] || { echo "failed: $failure"; tail -n 20 "$WORK"/*.log 2>/dev/null; } >&2' EXIT

ip link set lo up
# 10.0.0.5 is a node of the examples.
ip address add 10.0.0.5/32 dev lo
# /etc is that of this machine, with names and /etc/fantail laid over it.
mkdir "$WORK/bin" "$WORK/layers"
mount -t tmpfs none "$WORK/layers"
mkdir -p "$WORK/layers/etc/fantail" "$WORK/layers/scratch"
for name in fantail redis.internal redis-1 events.example.com node-7.example; do
    echo "127.0.0.1 $name"
done | cat - /etc/hosts >"$WORK/layers/etc/hosts"
mount -t overlay none -o "lowerdir=/etc,upperdir=$WORK/layers/etc,workdir=$WORK/layers/scratch" /etc
mount -t tmpfs none /run
mkdir /run/secrets /run/fantail

ln -s "$CLONE/examples" "$WORK/examples"
# `cargo run --release -- x` of a clone is `fantail x`, which the test has built.
ln -s "$PROGRAM" "$WORK/bin/fantail"
printf '#!/bin/sh\n[ "$1 $2 $3" = "run --release --" ] || exit 2\nshift 3\nexec fantail "$@"\n' >"$WORK/bin/cargo"
chmod +x "$WORK/bin/cargo"
PATH=$WORK/bin:$PROGRAMS:$PATH
# An answer that is no success fails the command.
printf 'fail\nsilent\nshow-error\n' >"$HOME/.curlrc"

make_certificates() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt
    for name in tls meter-7 shop; do
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -keyout "$name.key" -out request
        openssl x509 -req -in request -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out "$name.crt" \
            -extfile <(echo subjectAltName=DNS:events.example.com,DNS:node-7.example)
    done
    cp tls.crt tls.key /etc/fantail/
    cp ca.crt /etc/fantail/devices-ca.crt
}
make_certificates >"$WORK/openssl.log" 2>&1
export CURL_CA_BUNDLE=$WORK/ca.crt SSL_CERT_FILE=$WORK/ca.crt
openssl rand -hex 32 >/run/secrets/ops

until_true() {
    local end=$((SECONDS + PATIENCE))
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
}

redis() {
    redis-server --save '' --bind 127.0.0.1 >"$WORK/redis.log" 2>&1 &
    until_true redis-cli ping
}

nats() {
    nats-server --addr 127.0.0.1 --jetstream --store_dir "$WORK/nats" >"$WORK/nats.log" 2>&1 &
    until_true bash -c ': </dev/tcp/127.0.0.1/4222'
}

# The settings of which docs/access.md speaks.
token_settings() {
    printf 'access = "token"\ntoken_keys = ["HS256:/etc/fantail/token-key"]\nchannel_templates = ["user:{sub}"]\n' >/etc/fantail/fantail.toml
}

server=
# A node of this command, in place of the one before. It has printed its banner when this returns.
serves() {
    failure=$1
    [ -z "$server" ] || { kill -KILL "$server"; wait "$server" 2>/dev/null || true; }
    : >"$WORK/node.log"
    bash -c "exec $1" >"$WORK/node.log" 2>&1 &
    server=$!
    until_true bash -c "grep -q '^subscribe ' '$WORK/node.log' || ! kill -0 $server"
    kill -0 "$server"
    readers=()
}

# Another server, which answers until the end of the page: at the port that is its fourth word.
stays() {
    local words
    failure=$1
    read -ra words <<<"$1"
    bash -c "exec $1" >"$WORK/other.log" 2>&1 &
    until_true bash -c ": </dev/tcp/127.0.0.1/${words[3]}"
}

readers=()
# A reader of this command. It has got the first bytes of its stream when this returns.
reads() {
    local log=$WORK/reader${#readers[@]}.log
    failure=$1
    bash -c "exec $1" >"$log" 2>"$log.err" &
    readers+=("$! $log")
    until_true grep -q . "$log"
}

# A command that comes to an end.
runs() {
    failure=$1
    bash -euo pipefail -c "$1" >"$WORK/command.log" 2>&1
}

# Every reader of this node has got an event.
have_events() {
    local reader
    for reader in "${readers[@]}"; do
        failure="an event for the reader of ${reader#* }"
        until_true grep -q '^data: \|^hello' "${reader#* }"
    done
}
