// Publishes through the log, for nodes with `--redis-url … --redis-log`. Needs node-redis: `npm install redis`.
import { createClient } from "redis";

const client = await createClient({ url: process.env.REDIS_URL ?? "redis://127.0.0.1:6379" }).connect();

// One event for these channels, kept and sent in one step. Returns its id and how many nodes got it.
const publish = (channels, data, fields = {}) =>
  client.fCall("fantail_publish", {
    keys: ["fantail-log:{0}"],
    arguments: [JSON.stringify({ data, ...fields }), ...channels],
  });

const [id, nodes] = await publish(["demo", "news"], "hello", { event: "greeting" });
console.log(id, nodes);
await client.close(); // an open connection keeps the process alive
