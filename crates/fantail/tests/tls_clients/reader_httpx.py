"""Prints a stream up to its end over HTTP/2: reader_httpx.py URL CA-FILE."""

import ssl
import sys

import httpx

context = ssl.create_default_context(cafile=sys.argv[2])
with httpx.Client(http2=True, verify=context, timeout=None) as client:
    with client.stream("GET", sys.argv[1]) as answer:
        for text in answer.iter_text():
            sys.stdout.write(text)
