// Prints the cost of a call to better-auth without HTTP, as one line of JSON.
import { expire, fill, forged, name, open, verify } from "./keys.mjs";

/** Calls `one` with each of `inputs` in turn for at most `seconds`. If `once` is set, uses each input only once. */
async function measure(seconds, inputs, one, once = false) {
  const start = performance.now();
  const cpu = process.cpuUsage();
  let calls = 0;
  while (performance.now() - start < seconds * 1000 && !(once && calls === inputs.length)) {
    await one(inputs[calls++ % inputs.length]);
  }
  const { user, system } = process.cpuUsage(cpu);
  return { rate: (calls * 1000) / (performance.now() - start), cpu: (user + system) / 1000 / calls };
}

function expecting(peer, wanted) {
  return async (key) => {
    if ((await verify(peer, key)) !== wanted) throw new Error(`a key should verify as ${wanted}`);
  };
}

const peer = open();
const { create, samples, user } = await fill(peer);
const unknown = Array.from({ length: 1000 }, forged);

// These short runs warm up the code.
await measure(0.3, samples.valid, expecting(peer, true));
await measure(0.2, unknown, expecting(peer, false));
const creates = await measure(1, [null], create);
const valid = await measure(1.5, samples.valid, expecting(peer, true));
const unknowns = await measure(1, unknown, expecting(peer, false));
const revoked = await measure(0.7, samples.revoked, expecting(peer, false));
// The library deletes an expired key when it verifies the key, so each key is used only once.
const expired = await measure(1, await expire(peer, user.id, 400), expecting(peer, false), true);

// Uses a separate connection, because reporting each statement takes time.
let statements = 0;
const counted = open(() => statements++);
async function count(keys, wanted) {
  await verify(counted, keys[0]);
  statements = 0;
  for (const key of keys) await expecting(counted, wanted)(key);
  return statements / keys.length;
}
const perVerify = await count(samples.valid, true);
const perForged = await count(samples.unknown, false);

const rounded = (number, digits) => Number(number.toFixed(digits));
const line = {
  name,
  create_per_s: rounded(creates.rate, 0),
  verify_per_s: rounded(valid.rate, 0),
  forged_per_s: rounded(unknowns.rate, 0),
  create_cpu_ms: rounded(creates.cpu, 4),
  verify_cpu_ms: rounded(valid.cpu, 4),
  forged_cpu_ms: rounded(unknowns.cpu, 4),
  expired_cpu_ms: rounded(expired.cpu, 4),
  revoked_cpu_ms: rounded(revoked.cpu, 4),
  statements_per_verify: perVerify,
  statements_per_forged: perForged,
  rss_mb: rounded(process.resourceUsage().maxRSS / 1024, 1),
};
console.log(JSON.stringify(line));
process.exit();
