#!/bin/sh
# Publishes over HTTP to the internal listener of a node, whatever its feed is.
#
#   sh examples/publish_http.sh
set -eu
node=${FANTAIL_URL:-http://127.0.0.1:8081}

# The body is the data. -f makes curl fail when the node refuses.
curl -fsS -d hello "$node/publish/demo"
echo

# One event for two channels, with a type. A stream of both gets it once.
curl -fsS -H 'Content-Type: application/json' \
    -d '{"channels":["demo","news"],"data":"hello","event":"greeting"}' "$node/publish"
echo
