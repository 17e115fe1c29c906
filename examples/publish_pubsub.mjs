// Publishes by plain PUBLISH, for nodes with `--redis-url`. Needs node-redis: `npm install redis`.
import { randomUUID } from "node:crypto";
import { createClient } from "redis";

const client = await createClient({ url: process.env.REDIS_URL ?? "redis://127.0.0.1:6379" }).connect();

// One event for these channels: a copy on each, in one transaction. Returns how many nodes got it.
const publish = async (channels, data, fields = {}) => {
  const envelope = JSON.stringify({ data, channels, uid: randomUUID(), ...fields });
  const transaction = client.multi();
  for (const channel of channels) transaction.publish(`fantail-event:${channel}`, envelope);
  return Math.max(...(await transaction.exec()));
};

let nodes = await client.publish("fantail:demo", "hello");
console.log(nodes);
nodes = await publish(["demo", "news"], "hello", { event: "greeting" });
console.log(nodes);
await client.close(); // an open connection keeps the process alive
