// Prints a stream up to its end over HTTP/2: reader_http2.mjs URL, with NODE_EXTRA_CA_CERTS.
import http2 from 'node:http2';
import { pipeline } from 'node:stream/promises';

const url = new URL(process.argv[2]);
const session = http2.connect(url.origin);
await pipeline(session.request({ ':path': url.pathname }), process.stdout);
session.close();
