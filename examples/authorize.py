"""Tells who may read which channels: a model for the part of your service that knows its users.

    python3 examples/authorize.py 3000

It serves three recipes of docs/access.md. Fantail (access = origin) or nginx (auth_request) asks /authorize with the client's
cookies. Or the client asks /events, and nginx then opens the stream that the answer names (X-Accel-Redirect). Each time the
answer names all channels that the reader may follow, and Fantail refuses every other one. Fantail also understands the answer
of /authorize.json.
"""

import json
import sys
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Sessions that are logged in. Yours come from a session store.
SESSIONS = {
    "session-of-ann": {"subject": "ann", "channels": ["news", "user:ann"]},
    "session-of-bob": {"subject": "bob", "channels": ["news", "user:bob"]},
}
# Whatever changes in the session store is seen after this time at the latest, when the stream is opened again.
SECONDS = 600


class Authorize(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get("session")
        session = SESSIONS.get(cookie.value) if cookie else None
        path = self.path.partition("?")[0]
        if path not in ("/authorize", "/authorize.json", "/events"):
            return self.answer(404, {})
        if session is None:
            return self.answer(401, {})
        if path == "/authorize.json":
            return self.answer(200, {}, session | {"session": cookie.value, "expires_in": SECONDS})
        headers = {
            "Fantail-Channels": ",".join(session["channels"]),
            "Fantail-Subject": session["subject"],
            "Fantail-Session": cookie.value,
            "Fantail-Expires-In": str(SECONDS),
        }
        if path == "/events":
            headers["X-Accel-Redirect"] = "/fantail-stream"
        self.answer(200, headers)

    def answer(self, status, headers, body=None):
        content = json.dumps(body).encode() if body else b""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if content:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Authorize)
    print(f"the service is at http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
