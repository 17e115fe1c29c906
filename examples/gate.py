"""Tells nginx whether a client may read a stream: a model for the part of your service that knows its users.

    python3 examples/gate.py 3000

nginx asks it with the client's headers and, in X-Original-URI, the target of the request (see
deploy/nginx/fantail-private.conf). 204 lets the client in, 401 says that it is not known, 403 that it may not read.
"""

import sys
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

# Sessions that are logged in, and the channels that each may read. Yours come from a session store.
READABLE = {
    "session-of-ann": {"news", "user:ann"},
    "session-of-bob": {"news", "user:bob"},
}


def channels(target):
    """The channels of the stream: one behind the path's prefix, or each `channel` in the query, both encoded."""
    parts = urlsplit(target)
    in_path = parts.path.removeprefix("/sse").removeprefix("/")
    in_query = parse_qs(parts.query, keep_blank_values=True).get("channel", [])
    return ([unquote(in_path)] if in_path else []) + in_query


class Gate(BaseHTTPRequestHandler):
    def do_GET(self):
        session = SimpleCookie(self.headers.get("Cookie", "")).get("session")
        readable = READABLE.get(session.value) if session else None
        wanted = channels(self.headers.get("X-Original-URI", ""))
        if readable is None:
            self.send_response(401)
        elif wanted and readable.issuperset(wanted):
            self.send_response(204)
        else:
            self.send_response(403)
        self.end_headers()

    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Gate)
    print(f"the gate is at http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
