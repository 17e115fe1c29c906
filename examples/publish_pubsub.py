"""Publishes by plain PUBLISH, for nodes with `--redis-url`. Needs redis-py: `pip install redis`."""

import json
import os
import uuid

import redis

client = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"))


def publish(channels, data, **fields):
    """One event for these channels: a copy on each, in one transaction. Returns how many nodes got it."""
    envelope = json.dumps({"data": data, "channels": channels, "uid": uuid.uuid4().hex, **fields})
    with client.pipeline(transaction=True) as transaction:
        for channel in channels:
            transaction.publish(f"fantail-event:{channel}", envelope)
        return max(transaction.execute())


nodes = client.publish("fantail:demo", "hello")
print(nodes)
nodes = publish(["demo", "news"], "hello", event="greeting")
print(nodes)
