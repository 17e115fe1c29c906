#!/bin/sh
# Publishes through the log, for nodes with `--redis-url … --redis-log`. The answer is the event's id and the number of nodes.
#
#   sh examples/publish_log.sh
set -eu
redis=${REDIS_URL:-redis://127.0.0.1:6379}

# -e makes redis-cli fail when Redis refuses.
redis-cli -e -u "$redis" FCALL fantail_publish 1 'fantail-log:{0}' '{"data":"hello","event":"greeting"}' demo news
