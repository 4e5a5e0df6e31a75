// A new instance of better-auth with its keys in SQLite. The folder of this module contains the database, and is
// removed at exit.
import { randomBytes, randomInt } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { apiKey } from "@better-auth/api-key";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import Database from "better-sqlite3";

process.on("exit", () => rmSync(import.meta.dirname, { recursive: true, force: true }));

const { values } = parseArgs({
  options: { keys: { type: "string" }, synchronous: { type: "string", default: "NORMAL" } },
});
const count = Number(values.keys);
if (!Number.isInteger(count) || count < 200 || !["NORMAL", "FULL"].includes(values.synchronous)) {
  console.error("usage: DIR --keys N [--synchronous NORMAL|FULL], N at least 200");
  process.exit(2);
}

export const name = "better-auth";

/** The versions of the packages, and the settings that the database has. */
export function report({ database }) {
  const versions = { node: process.versions.node, sqlite: database.prepare("SELECT sqlite_version()").pluck().get() };
  for (const installed of ["better-auth", "@better-auth/api-key", "better-sqlite3"]) {
    const file = join(import.meta.dirname, "../node_modules", installed, "package.json");
    versions[installed] = JSON.parse(readFileSync(file, "utf8")).version;
  }
  const journal_mode = database.pragma("journal_mode", { simple: true });
  const synchronous = ["OFF", "NORMAL", "FULL", "EXTRA"][database.pragma("synchronous", { simple: true })];
  return { versions, settings: { keys: count, journal_mode, synchronous, processes: 1 } };
}

/** Opens the database. `verbose` is called with each SQL statement. */
export function open(verbose) {
  const database = new Database(join(import.meta.dirname, "keys.sqlite"), { verbose });
  database.pragma("journal_mode = WAL");
  database.pragma(`synchronous = ${values.synchronous}`);
  const auth = betterAuth({
    database,
    secret: randomBytes(32).toString("hex"),
    baseURL: "http://127.0.0.1",
    telemetry: { enabled: false },
    // better-auth logs each refused key. The figures must not include the cost of the log.
    logger: { disabled: true },
    plugins: [apiKey({ rateLimit: { enabled: false } })],
  });
  return { database, auth };
}

/** Creates the tables, one user and the keys. Returns the function that creates a key, the samples and the user. */
export async function fill({ database, auth }) {
  await (await getMigrations(auth.options)).runMigrations();
  const { internalAdapter } = await auth.$context;
  const user = await internalAdapter.createUser({ name: "Peer", email: "peer@example.com", emailVerified: true });
  const create = async () => (await auth.api.createApiKey({ body: { userId: user.id } })).key;

  // One transaction for all keys makes the set-up faster, and nothing else.
  database.exec("BEGIN");
  const valid = [];
  for (let i = 0; i < count; i++) valid.push(await create());
  const revoked = [];
  for (let i = 0; i < 20; i++) {
    const { id, key } = await auth.api.createApiKey({ body: { userId: user.id } });
    await auth.api.updateApiKey({ body: { keyId: id, userId: user.id, enabled: false } });
    revoked.push(key);
  }
  const expired = await expire({ database, auth }, user.id, 20);
  database.exec("COMMIT");

  const step = Math.floor(count / 200);
  const samples = {
    valid: Array.from({ length: 200 }, (_, i) => valid[i * step]),
    expired,
    revoked,
    unknown: Array.from({ length: 20 }, forged),
    garbage: ["garbage", "a.b.c", "not a key", "x".repeat(300), "'; --"],
  };
  return { create, samples, user };
}

/**
 * Creates expired keys. The library accepts no date in the past, so the dates are set in the table. This comes last,
 * because the library may delete expired keys whenever it creates a key.
 */
export async function expire({ database, auth }, userId, amount) {
  const created = [];
  for (let i = 0; i < amount; i++) created.push(await auth.api.createApiKey({ body: { userId, expiresIn: 86400 } }));
  const set = database.prepare(`UPDATE apikey SET "expiresAt" = '2020-01-01T00:00:00.000Z' WHERE id = ?`);
  for (const { id } of created) set.run(id);
  return created.map(({ key }) => key);
}

/** A key in the library's form that was never issued. */
export function forged() {
  const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  return Array.from({ length: 64 }, () => letters[randomInt(letters.length)]).join("");
}

/** Whether the library accepts the key. */
export async function verify({ auth }, key) {
  return (await auth.api.verifyApiKey({ body: { key } })).valid;
}
