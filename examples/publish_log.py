"""Publishes through the log, for nodes with `--redis-url … --redis-log`. Needs redis-py: `pip install redis`."""

import json
import os

import redis

client = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"), decode_responses=True)
# On a Redis Cluster: client = redis.cluster.RedisCluster(host="redis-1", port=6379, decode_responses=True)


def publish(channels, data, **fields):
    """One event for these channels, kept and sent in one step. Returns its id and how many nodes got it."""
    envelope = json.dumps({"data": data, **fields})
    return client.fcall("fantail_publish", 1, "fantail-log:{0}", envelope, *channels)


event_id, nodes = publish(["demo", "news"], "hello", event="greeting")
print(event_id, nodes)
