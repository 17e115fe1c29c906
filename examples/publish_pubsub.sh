#!/bin/sh
# Publishes by plain PUBLISH, for nodes with `--redis-url`. Each answer is the number of nodes that the event reached.
#
#   sh examples/publish_pubsub.sh
set -eu
redis=${REDIS_URL:-redis://127.0.0.1:6379}

redis-cli -u "$redis" PUBLISH fantail:demo hello

# One event for two channels has a copy on each, in one transaction. The uid tells the copies of this event from others.
envelope="{\"data\":\"hello\",\"event\":\"greeting\",\"channels\":[\"demo\",\"news\"],\"uid\":\"$(cat /proc/sys/kernel/random/uuid)\"}"
redis-cli -u "$redis" <<COMMANDS
MULTI
PUBLISH fantail-event:demo '$envelope'
PUBLISH fantail-event:news '$envelope'
EXEC
COMMANDS
