// Prints a stream up to its end: reader_fetch.mjs URL, with NODE_EXTRA_CA_CERTS.
const answer = await fetch(process.argv[2]);
for await (const piece of answer.body) process.stdout.write(piece);
