"""Prints a stream up to its end: reader.py URL CA-FILE."""

import ssl
import sys
import urllib.request

context = ssl.create_default_context(cafile=sys.argv[2])
context.minimum_version = ssl.TLSVersion.TLSv1_3
with urllib.request.urlopen(sys.argv[1], context=context) as answer:
    for line in answer:
        sys.stdout.buffer.write(line)
