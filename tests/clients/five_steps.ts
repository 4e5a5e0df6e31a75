// Follows the five steps of README.md and causes errors, with the types that openapi-typescript generates. Usage: node
// five_steps.js <URL> <token of an administrator>

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { paths } from "./generated/api.js";

const [baseUrl = "", token = ""] = process.argv.slice(2);
const admin = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });
const anyone = createClient<paths>({ baseUrl });

async function fiveSteps() {
  const users = await admin.GET("/v1/users");
  assert.ok(users.data?.items.some(({ id }) => id === "editor"));

  const path = { user_id: "editor" };
  const user = await admin.GET("/v1/users/{user_id}", { params: { path } });
  assert.equal(user.data?.id, "editor");

  const { data: key } = await admin.POST("/v1/users/{user_id}/access-keys", {
    params: { path },
    body: { name: "typescript", role: "viewer", expires_in_days: 30 },
  });
  assert.ok(key);
  assert.deepEqual([key.name, key.revoked_at, key.max_clusters], ["typescript", null, 1]);

  const query = { body: { access_key: key.access_key } };
  const valid = await anyone.POST("/v1/access-keys/validate", query);
  assert.ok(valid.data?.active);
  assert.equal(valid.data.jti, key.id);

  const revocation = { params: { path: { ...path, key_id: key.id }, query: { reason: "five steps" } } };
  const done = await admin.DELETE("/v1/users/{user_id}/access-keys/{key_id}", revocation);
  assert.equal(done.response.status, 204);
  const revoked = await anyone.POST("/v1/access-keys/validate", query);
  assert.ok(revoked.data && !revoked.data.active);
  assert.equal(revoked.data.code, "revoked");

  const keys = await admin.GET("/v1/users/{user_id}/access-keys", { params: { path, query: { limit: 1 } } });
  assert.equal(keys.data?.items[0]?.revoked_reason, "five steps");
}

async function errors() {
  const invalid = await admin.POST("/v1/users/{user_id}/access-keys", {
    params: { path: { user_id: "me" } },
    body: { name: "", role: "viewer" },
  });
  assert.ok(invalid.error && "errors" in invalid.error);
  assert.deepEqual([invalid.error.code, invalid.error.errors?.[0]?.field], ["invalid_request", "name"]);

  // A function returns this error, and the gateway returns the next one.
  const unknown = await admin.GET("/v1/users/{user_id}", { params: { path: { user_id: "nobody" } } });
  assert.ok(unknown.error && "code" in unknown.error);
  assert.equal(unknown.error.code, "not_found");
  const stranger = await anyone.GET("/v1/users");
  assert.ok(stranger.error && "message" in stranger.error);
  assert.equal(stranger.error.message, "Unauthorized");
}

await fiveSteps();
await errors();
const keys = await anyone.GET("/.well-known/jwks.json");
assert.deepEqual(keys.data?.keys.map(({ kty }) => kty), ["EC"]);
