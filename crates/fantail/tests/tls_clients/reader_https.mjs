// Prints a stream up to its end: reader_https.mjs URL, with NODE_EXTRA_CA_CERTS.
import https from 'node:https';
import { pipeline } from 'node:stream/promises';

const answer = await new Promise((resolve, reject) => {
  https.get(process.argv[2], { minVersion: 'TLSv1.3' }, resolve).on('error', reject);
});
await pipeline(answer, process.stdout);
