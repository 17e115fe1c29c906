// Publishes over HTTP to the internal listener of a node, whatever its feed is. Needs no package.
const node = process.env.FANTAIL_URL ?? "http://127.0.0.1:8081";

// One event for these channels. Returns its receipt.
const publish = async (channels, data, fields = {}) => {
  const event = JSON.stringify({ channels, data, ...fields });
  const answer = await fetch(`${node}/publish`, { method: "POST", body: event });
  if (answer.status !== 202) throw new Error(await answer.text());
  return answer.json();
};

console.log(await publish(["demo", "news"], "hello", { event: "greeting" }));
