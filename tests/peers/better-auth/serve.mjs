// Serves better-auth through node:http, in one process, until standard input closes.
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { fill, name, open, report, verify } from "./keys.mjs";

// The handlers are registered first, so that the server also stops if its parent process dies during the set-up.
for (const event of ["end", "close"]) process.stdin.on(event, () => process.exit());
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit());
process.stdin.resume();

const peer = open();
const { create, samples } = await fill(peer);

const server = createServer(async (request, response) => {
  const send = (status, body) => {
    const bytes = JSON.stringify(body);
    response.writeHead(status, { "content-type": "application/json", "content-length": bytes.length }).end(bytes);
  };
  try {
    const body = await text(request);
    if (request.method !== "POST") send(405, {});
    else if (request.url === "/verify") send(200, { valid: await verify(peer, JSON.parse(body).key) });
    else if (request.url === "/keys") send(201, { key: await create() });
    else send(404, {});
  } catch (error) {
    console.error(error);
    send(500, {});
  }
});
server.keepAliveTimeout = 75_000;
server.listen(0, "127.0.0.1", () => {
  const line = {
    name,
    url: `http://127.0.0.1:${server.address().port}`,
    pids: [process.pid],
    ...report(peer),
    request: { method: "POST", path: "/verify", body: "key" },
    keys: samples,
  };
  console.log(JSON.stringify(line));
});
