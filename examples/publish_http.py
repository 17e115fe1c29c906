"""Publishes over HTTP to the internal listener of a node, whatever its feed is. Needs no package."""

import json
import os
import urllib.request

NODE = os.environ.get("FANTAIL_URL", "http://127.0.0.1:8081")


def publish(channels, data, **fields):
    """One event for these channels. Returns its receipt; raises HTTPError when the node refuses it."""
    event = json.dumps({"channels": channels, "data": data, **fields}).encode()
    with urllib.request.urlopen(f"{NODE}/publish", data=event) as answer:
        return json.load(answer)


print(publish(["demo", "news"], "hello", event="greeting"))
