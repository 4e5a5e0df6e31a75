// Signing in and out in the page.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { damageToken, inspect, startStack } from "./harness.js";
import { button, kept } from "./page.js";

const stack = await startStack();
after(() => stack.stop());

test("the first view needs at most 60 KiB", async (t) => {
  const { page } = await stack.open(t);
  const network = await page.context().newCDPSession(page);
  await network.send("Network.enable");
  const sizes = new Map();
  network.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => sizes.set(requestId, encodedDataLength));
  await page.goto(`${stack.url}/console`, { waitUntil: "networkidle" });
  await button(page, "Sign in").waitFor();
  const total = [...sizes.values()].reduce((sum, size) => sum + size, 0);
  t.diagnostic(`${sizes.size} responses, ${total} bytes with headers, with one silent attempt to sign in`);
  assert.ok(total <= 60 * 1024, `${total} bytes`);
  await inspect(page, "welcome");
});

test("tokens are kept only in memory, and signing out ends the session", async (t) => {
  const { page, requests } = await stack.signIn(t, "editor@acme.example");
  await page.getByRole("heading", { name: "My access keys" }).waitFor();
  const { authorization } = await requests.findLast((request) => request.url().includes("/v1/")).allHeaders();
  assert.match(authorization, /^Bearer eyJ/);
  assert.ok(!(await kept(page)).includes(authorization.slice("Bearer ".length)));
  assert.equal(await page.evaluate(() => sessionStorage.length + localStorage.length), 0);
  assert.equal(page.url(), `${stack.url}/console`, "the authorization code is no longer in the URL");
  await button(page, "Sign out").click();
  await page.getByText("You are signed out of this page.").waitFor();
  await button(page, "Sign in").click();
  await page.getByRole("heading", { name: "Sign in as" }).waitFor();
});

test("the page explains a cancelled sign-in and a forged one", async (t) => {
  const { page } = await stack.open(t);
  await page.goto(`${stack.url}/console`);
  await button(page, "Sign in").click();
  await page.getByRole("heading", { name: "Sign in as" }).waitFor();
  await inspect(page, "sign in as");
  await page.getByRole("link", { name: "Cancel" }).click();
  await page.getByRole("alert").filter({ hasText: "cancelled or refused" }).waitFor();
  await inspect(page, "sign-in cancelled");
  await page.goto(`${stack.url}/console?code=stolen&state=forged`);
  await page.getByRole("alert").filter({ hasText: "This sign-in did not start in this window." }).waitFor();
});

test("sign-in sends the audience and the resource that the settings contain", async (t) => {
  for (const added of [{}, { audience: "keys-api", resource: "https://keys.example/api" }]) {
    const { page, requests } = await stack.open(t);
    await page.route("**/console/config.json", async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, json: { ...(await response.json()), ...added } });
    });
    await stack.beginSignIn(page, "admin@acme.example");
    await page.getByRole("heading", { name: "Access Keys" }).waitFor();
    const sent = requests.map((request) => ({ path: new URL(request.url()).pathname, text: request.postData() ?? new URL(request.url()).search }));
    const values = (path) => {
      const parameters = new URLSearchParams(sent.find((request) => request.path === path).text);
      return ["audience", "resource"].map((name) => parameters.get(name));
    };
    const { audience = null, resource = null } = added;
    assert.deepEqual(values("/authorize"), [audience, resource]);
    assert.deepEqual(values("/token"), [null, resource]);
  }
});

test("the page explains a deactivated account", async (t) => {
  await stack.acme.call("PATCH", "/v1/users/viewer", { status: "inactive" });
  const { page } = await stack.open(t);
  await stack.beginSignIn(page, "viewer@acme.example");
  await page.getByRole("alert").filter({ hasText: "Your account is deactivated: ask an administrator." }).waitFor();
  await stack.acme.call("PATCH", "/v1/users/viewer", { status: "active" });
});

test("the page explains a token that the service rejects", async (t) => {
  const { page } = await stack.open(t);
  await damageToken(page);
  await stack.beginSignIn(page, "viewer@acme.example");
  await page.getByRole("alert").filter({ hasText: "does not accept the identity provider's token" }).waitFor();
});

test("after a refusal, the user can choose another account", async (t) => {
  await stack.acme.call("PATCH", "/v1/users/viewer", { status: "inactive" });
  const { page } = await stack.open(t);
  await stack.beginSignIn(page, "viewer@acme.example");
  await page.getByRole("alert").filter({ hasText: "Your account is deactivated" }).waitFor();
  await button(page, "Sign in").click();
  await page.getByRole("link", { name: "editor@acme.example" }).click();
  await page.getByRole("heading", { name: "My access keys" }).waitFor();
  await stack.acme.call("PATCH", "/v1/users/viewer", { status: "active" });
});

test("after a sign-out, neither Back nor another window shows the session", async (t) => {
  const { page } = await stack.signIn(t, "admin@acme.example");
  const other = await page.context().newPage();
  await other.goto(`${stack.url}/console`);
  await other.getByRole("heading", { name: "Access Keys", level: 1 }).waitFor();
  const logout = page.waitForRequest((request) => new URL(request.url()).pathname === "/logout");
  await button(page, "Sign out").click();
  await logout;
  await page.waitForURL(`${stack.url}/console`);
  await button(page, "Sign in").waitFor();
  await page.goBack();
  await button(page, "Sign in").waitFor();
  assert.equal(await page.getByRole("navigation", { name: "Views" }).count(), 0);
  await other.getByText("You are signed out of this page.").waitFor();
  assert.equal(await other.getByRole("navigation", { name: "Views" }).count(), 0);
});
