// Access Keys, the page of a key, and what can be done with a key.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { NARROW, answerWith, damageToken, hold, inspect, screenshot, startStack } from "./harness.js";
import { KEY, button, choose, copyKey, dialog, generate, kept, keyRow, person, requestText, toast, visit } from "./page.js";

const stack = await startStack();
after(() => stack.stop());

const names = (page) => page.getByRole("table", { name: "Access Keys" }).locator("a.name").allTextContents();
const inDays = (days) => new Date(Date.now() + days * 86_400_000).toISOString();

test("an administrator sees the keys of the tenant first, newest first, with their owners, roles and statuses", async (t) => {
  await stack.globex.call("PUT", "/v1/users/ann", { role: "editor", name: "Ann", email: "ann@globex.example" });
  await stack.globex.createKey("ann", { name: "first", role: "editor", expires_at: inDays(6.9), max_clusters: 3, labels: ["team-a"] });
  await stack.globex.createKey("admin", { name: "second", role: "viewer", expires_in_days: 1 });
  const { access_key } = await stack.globex.createKey("ann", { name: "third", role: "viewer", expires_in_days: 60 });
  await stack.validate(access_key);
  await stack.globex.call("PATCH", "/v1/users/ann", { role: "viewer" });
  const { page } = await stack.signIn(t, "admin@globex.example");
  await page.getByRole("heading", { name: "Access Keys", level: 1 }).waitFor();
  await keyRow(page, "third").waitFor();
  assert.deepEqual(await names(page), ["third", "second", "first"]);
  const cells = (name) => keyRow(page, name).getByRole("cell").allTextContents();
  const [heading, owner, role, expiry, used, clusters, status] = await cells("first");
  assert.match(heading, /^first …[0-9a-f]{8}team-a$/);
  assert.equal(owner, "Annann@globex.example");
  assert.equal(role, "Editor key, limited to Viewer");
  assert.match(expiry, /^in 6 days.* UTC$/);
  assert.deepEqual([used, clusters, status], ["Never", "0 of 3", "Active"]);
  assert.match((await cells("third"))[4], /minute ago$/);
  const tone = (name) => keyRow(page, name).locator("b").getAttribute("class");
  assert.deepEqual([await tone("first"), await tone("second"), await tone("third")], ["warn-text", "bad-text", null]);
  await screenshot(page, "keys");
  await inspect(page, "access keys");

  await stack.globex.call("PATCH", "/v1/users/ann", { status: "inactive" });
  await page.reload();
  await keyRow(page, "first").getByText("Suspended: owner deactivated").waitFor();
  await inspect(page, "suspended keys");
});

test("filters and the search are in the URL and survive a reload", async (t) => {
  await Promise.all([
    stack.acme.createKey("editor", { name: "Nightly scan", role: "viewer", labels: ["team-a"] }),
    stack.acme.createKey("viewer", { name: "Café pipeline", role: "viewer", expires_in_days: 3 }),
    stack.acme.createKey("editor", { name: "agents of prod", role: "cluster_onboarding" }),
  ]);
  const { page } = await stack.signIn(t, "admin@acme.example");
  await keyRow(page, "Nightly scan").waitFor();
  const only = async (...expected) => {
    await page.waitForFunction((n) => document.querySelectorAll("a.name").length === n, expected.length);
    assert.deepEqual((await names(page)).sort(), expected.sort());
  };
  await page.getByLabel("Search keys").fill("cafe");
  await only("Café pipeline");
  assert.match(page.url(), /#keys\?q=cafe$|\/console#\?q=cafe$/);
  await page.getByLabel("Search keys").fill("");
  await page.getByText("Filters", { exact: true }).click();
  await inspect(page, "filters");
  await page.getByLabel("Role").selectOption("Cluster Onboarding");
  await only("agents of prod");
  await page.getByLabel("Role").selectOption("Any");
  await page.getByLabel("Expires within").selectOption("7 days");
  await only("Café pipeline");
  const release = await hold(page, "**/v1/access-keys?*");
  await page.getByLabel("Expires within").selectOption("Any");
  await page.getByLabel("Label", { exact: true }).fill("team-a");
  release();
  await keyRow(page, "agents of prod").waitFor();
  await page.keyboard.press("Enter");
  await only("Nightly scan");
  await button(page, "Clear filters").click();
  await page.getByLabel("Owner").fill("edi");
  await person(page, /^Editor/).click();
  assert.equal(await page.getByLabel("Owner").inputValue(), "Editor, editor@acme.example");
  await only("Nightly scan", "agents of prod");
  await page.getByLabel("Status").selectOption("Revoked");
  await page.getByText("No key matches.").waitFor();
  await page.getByLabel("Status").selectOption("Neither expired nor revoked");
  await only("Nightly scan", "agents of prod");
  await page.reload();
  await only("Nightly scan", "agents of prod");
  assert.equal(await page.getByLabel("Owner").inputValue(), "editor");
});

test("a long search shows its progress and continues automatically", async (t) => {
  const { page } = await stack.signIn(t, "admin@acme.example");
  const empty = { items: [], examined: 1000, skipped: 0, next_cursor: "q1ZKLi1KVrJSSkwuyczPU9JRSs7PLShKLS4GAA" };
  await answerWith(page, "listTenantKeys", 200, { ...empty, skipped: 2, next_cursor: null });
  await answerWith(page, "listTenantKeys", 200, { ...empty, next_cursor: "q1ZKLi1KVrJSSkwuyczPU9JRSs7PLShKLS4GAB" });
  const release = await hold(page, "**/v1/access-keys?*cursor=*");
  await answerWith(page, "listTenantKeys", 200, empty);
  await page.getByLabel("Search keys").fill("needle");
  await page.getByText("Searched 1,000 keys so far…").waitFor();
  await inspect(page, "searching");
  release();
  await page.getByText("Searched 3,000 keys.").waitFor();
  await page.getByText("2 damaged records left out.").waitFor();
});

test("users who are not administrators see only their own keys, and nobody sees another tenant's", async (t) => {
  await stack.acme.createKey("viewer", { name: "viewers-own", role: "viewer" });
  await stack.acme.createKey("editor", { name: "not-the-viewers", role: "viewer" });
  const { page } = await stack.signIn(t, "viewer@acme.example");
  await keyRow(page, "viewers-own").waitFor();
  assert.ok(!(await kept(page)).includes("not-the-viewers"));
  await inspect(page, "my access keys");
  const globex = await stack.signIn(t, "admin@globex.example", { place: "#keys?q=viewers-own" });
  await globex.page.getByText("No key matches.").waitFor();
  assert.ok(!(await kept(globex.page)).includes("not-the-viewers"));
});

test("markup in names is shown as text", async (t) => {
  const name = "<img src=x onerror=alert(1)>";
  await stack.acme.call("PUT", "/v1/users/markup", { role: "viewer", name, email: "markup@acme.example" });
  await stack.acme.createKey("markup", { name, role: "viewer", labels: ["<b>bold</b>"] });
  const { page } = await stack.signIn(t, "admin@acme.example");
  await keyRow(page, name).getByText("<b>bold</b>").waitFor();
  await choose(page, keyRow(page, name), "Revoke");
  await dialog(page).getByRole("heading", { name: `Revoke ${name}?` }).waitFor();
  await button(page, "Cancel").click();
  await keyRow(page, name).getByRole("link", { name, exact: true }).click();
  await page.getByRole("heading", { name, level: 1 }).waitFor();
  await visit(page, "Activity");
  await page.getByRole("link", { name }).first().waitFor();
  assert.equal(await page.locator("img").count(), 0);
  await stack.acme.call("DELETE", "/v1/users/markup");
});

test("the page of a key shows its record, clusters and history, and follows each change", async (t) => {
  const { access_key, id } = await stack.acme.createKey("editor", { name: "story", role: "cluster_onboarding", max_clusters: 5, labels: ["old"] });
  await stack.onboard(access_key, { cluster_name: "story-1", type: "K8s" });
  const { page } = await stack.signIn(t, "admin@acme.example");
  await keyRow(page, "story").getByRole("link", { name: "story", exact: true }).click();
  await page.getByRole("heading", { name: "story", exact: true }).waitFor();
  const fact = (label) => page.locator(".record div", { has: page.locator("dt", { hasText: new RegExp(`^${label}$`) }) }).locator("dd");
  assert.equal(await fact("Id").textContent(), id);
  assert.equal(await fact("Owner").textContent(), "Editoreditor@acme.example, editor");
  assert.match(await fact("Created").textContent(), /by you$/);
  await page.getByRole("table", { name: "Clusters of story" }).getByText("story-1").waitFor();
  const history = page.getByRole("table", { name: "History of story" });
  await history.getByText("Key created").waitFor();
  await screenshot(page, "key");
  await inspect(page, "page of a key");

  await page.getByRole("button", { name: /^Change story/ }).click();
  const form = dialog(page);
  await form.getByLabel("Name").fill("renamed");
  await form.getByLabel("Labels").fill("new, second");
  await form.getByLabel("Maximum number of clusters").fill("6");
  await button(page, "Save").click();
  await form.getByText("Must be a whole number from 1 to 5.").waitFor();
  await form.getByLabel("Maximum number of clusters").fill("3");
  await form.getByLabel("Expires at (UTC)").fill(inDays(90).slice(0, 16));
  await form.getByText("To extend a key, rotate it.").waitFor();
  const at = inDays(10).slice(0, 16);
  await form.getByLabel("Expires at (UTC)").fill(at);
  await inspect(page, "change a key");
  const request = page.waitForRequest((request) => request.method() === "PATCH");
  await button(page, "Save").click();
  assert.deepEqual((await request).postDataJSON(), { name: "renamed", labels: ["new", "second"], expires_at: `${at}:00.000Z`, max_clusters: 3 });
  await page.getByRole("heading", { name: "renamed", exact: true }).waitFor();
  assert.deepEqual([await fact("Labels").textContent(), await fact("Clusters").textContent()], ["new, second", "1 of 3"]);

  await page.getByRole("button", { name: /^Revoke renamed/ }).click();
  await dialog(page).getByLabel("Reason").fill("no longer needed");
  await button(page, "Revoke").click();
  await page.getByRole("heading", { name: "renamed", exact: true }).waitFor();
  await page.getByText("Revoked", { exact: true }).first().waitFor();
  assert.match(await fact("Revoked").textContent(), /by you: no longer needed$/);
  assert.equal((await stack.validate(access_key)).code, "revoked");
  assert.equal(await page.getByRole("button", { name: /^Rotate/ }).count(), 0);

  await page.goto(`${stack.url}/console#keys/editor/0199f1a2-7b3c-7d4e-8f50-617283949aab`);
  await page.getByText("No such key exists, or it was removed after its expiry.").waitFor();
  await inspect(page, "no such key");
});

test("a rotation shows when both secrets end, then the new one, and the old one works for the overlap", async (t) => {
  const { access_key: old, expires_at } = await stack.acme.createKey("editor", { name: "turning", role: "editor", max_clusters: 2, expires_in_days: 90 });
  const { page, requests } = await stack.signIn(t, "admin@acme.example");
  await choose(page, keyRow(page, "turning"), "Rotate");
  const form = dialog(page);
  await form.getByText("The old secret stops working on").waitFor();
  const ends = async () => (await form.locator("form time").evaluateAll((times) => times.slice(1).map((time) => Date.parse(time.dateTime)))).map((end) => Math.round((end - Date.now()) / 3_600_000));
  assert.deepEqual(await ends(), [30 * 24, 24], "the new secret, then the old one");
  await form.getByLabel("Overlap").selectOption("7 days");
  assert.deepEqual(await ends(), [30 * 24, 7 * 24]);
  await form.getByRole("radio", { name: "7 Days" }).check({ force: true });
  assert.deepEqual(await form.getByLabel("Role").locator("option").allTextContents(), ["Viewer", "Cluster Onboarding", "Editor"]);
  await inspect(page, "rotate");
  await button(page, "Rotate").click();
  await form.getByText("The old secret works until").waitFor();
  assert.doesNotMatch(await kept(page), KEY, "the key is masked");
  await inspect(page, "rotated key");
  const fresh = await copyKey(page);
  await button(page, "Close").click();
  const closed = requests.length;
  const [first, second] = [await stack.validate(old), await stack.validate(fresh)];
  assert.deepEqual([first.active, first.superseded, second.active, second.superseded], [true, true, true, undefined]);
  assert.ok(second.exp < Date.parse(expires_at) / 1000);
  await keyRow(page, "turning").getByText("in 7 days").waitFor();
  assert.ok(!(await kept(page)).includes(fresh));

  await choose(page, keyRow(page, "turning"), "Rotate");
  await form.getByText("The overlap of the previous rotation has not ended.").waitFor();
  await form.getByLabel("Overlap").selectOption("0");
  await button(page, "Rotate").click();
  await form.getByText("The old secret no longer works.").waitFor();
  await copyKey(page);
  assert.deepEqual([(await stack.validate(old)).code, (await stack.validate(fresh)).code], ["invalid", "superseded"], "a second rotation ends the first secret, and the overlap of 0 seconds the second");
  const later = await Promise.all(requests.slice(closed).map(requestText));
  assert.ok(later.length > 0 && later.every((text) => !text.includes(fresh)));
});

test("a found key is recognised and can be revoked, and is sent nowhere else", async (t) => {
  const { access_key: key } = await stack.acme.createKey("editor", { name: "leaked", role: "viewer" });
  const { page, requests } = await stack.signIn(t, "admin@acme.example");
  await button(page, "Found a key?").click();
  const form = dialog(page);
  await form.getByLabel("Access key").fill("not a key");
  await button(page, "Check").click();
  await form.getByText("This is not a working key").waitFor();
  assert.equal(await button(page, "Revoke it").count(), 0);
  await form.getByLabel("Access key").fill(`  ${key}\n`);
  await button(page, "Check").click();
  await form.getByText("Active", { exact: true }).waitFor();
  await form.getByText("editor", { exact: true }).waitFor();
  await inspect(page, "a found key");
  await button(page, "Revoke it").click();
  await form.getByText("This key is already revoked.").waitFor();
  assert.equal((await stack.validate(key)).code, "revoked");
  const sent = (await Promise.all(requests.map(async (request) => [new URL(request.url()).pathname, await requestText(request)]))).filter(([, text]) => text.includes(key));
  assert.deepEqual(sent.map(([path]) => path), ["/v1/access-keys/validate", "/v1/access-keys/revoke"]);
  await form.getByRole("link", { name: "Show details of this key" }).click();
  await page.getByRole("heading", { name: "leaked", exact: true }).waitFor();
  assert.ok(!(await kept(page)).includes(key));

  const other = await stack.globex.createKey("admin", { name: "elsewhere", role: "viewer" });
  await visit(page, "Access Keys");
  await button(page, "Found a key?").click();
  await form.getByLabel("Access key").fill(other.access_key);
  await button(page, "Check").click();
  await form.getByText("it belongs to another tenant").waitFor();
  assert.equal(await form.getByText("elsewhere").count(), 0);
  await button(page, "Revoke it").click();
  await form.getByText("This key is already revoked.").waitFor();
  assert.equal((await stack.validate(other.access_key)).code, "revoked");
});

test("the result in Found a key? is always that of the key that was checked", async (t) => {
  const [first, second] = [await stack.acme.createKey("editor", { name: "found-first", role: "viewer" }), await stack.acme.createKey("viewer", { name: "found-second", role: "viewer" })];
  const { page } = await stack.signIn(t, "admin@acme.example");
  await button(page, "Found a key?").click();
  const form = dialog(page);
  const field = form.getByLabel("Access key");
  await field.fill(first.access_key);
  const release = await hold(page, "**/v1/access-keys/validate");
  await button(page, "Check").click();
  await button(page, "Checking…").waitFor();
  assert.equal(await field.getAttribute("readonly"), "", "the key cannot be changed while it is checked");
  release();
  await form.getByText("editor", { exact: true }).waitFor();
  await field.fill(second.access_key);
  assert.equal(await button(page, "Revoke it").count(), 0, "the second key was not checked");
  await button(page, "Check").click();
  await form.getByText("viewer", { exact: true }).waitFor();
  await button(page, "Revoke it").click();
  await keyRow(page, "found-second").getByText("Revoked").waitFor();
  assert.deepEqual([(await stack.validate(first.access_key)).active, (await stack.validate(second.access_key)).code], [true, "revoked"]);

  await stack.acme.call("POST", `/v1/users/editor/access-keys/${first.id}/rotate`, { role: "viewer", max_clusters: 1, overlap_seconds: 3600 });
  await field.fill(first.access_key);
  await button(page, "Check").click();
  await form.getByText("A rotation has replaced this secret. It works until").waitFor();
  const end = Date.parse(await form.locator("time").first().getAttribute("datetime"));
  assert.ok(Math.abs(end - Date.now() - 3_600_000) < 60_000);
});

test("the page of a deleted user's key still shows its record", async (t) => {
  await stack.acme.call("PUT", "/v1/users/leaver", { role: "viewer", name: "Leaver", email: "leaver@acme.example" });
  await stack.acme.createKey("leaver", { name: "left-behind", role: "viewer" });
  await stack.acme.call("DELETE", "/v1/users/leaver");
  const { page } = await stack.signIn(t, "admin@acme.example");
  await keyRow(page, "left-behind").getByRole("link", { name: "left-behind", exact: true }).click();
  await page.locator(".title").getByText("Revoked", { exact: true }).waitFor();
  await page.getByRole("table", { name: "History of left-behind" }).getByText("Key created").waitFor();
});

test("keys expire on the screen", async (t) => {
  await stack.acme.createKey("editor", { name: "soon-over", role: "viewer", expires_in_days: 1 });
  const { page } = await stack.open(t);
  await page.clock.install();
  await stack.beginSignIn(page, "admin@acme.example");
  await keyRow(page, "soon-over").getByText("Active", { exact: true }).waitFor();
  await page.clock.fastForward("25:00:00");
  await keyRow(page, "soon-over").getByText("Expired", { exact: true }).waitFor();
  await keyRow(page, "soon-over").getByText("1 hour ago").waitFor();
});

test("labels with commas survive a change of the name", async (t) => {
  const { id } = await stack.acme.createKey("editor", { name: "labelled", role: "viewer", labels: ["team a, b"] });
  const { page } = await stack.signIn(t, "admin@acme.example");
  await choose(page, keyRow(page, "labelled"), "Change");
  await dialog(page).getByLabel("Name").fill("relabelled");
  await button(page, "Save").click();
  await keyRow(page, "relabelled").waitFor();
  assert.deepEqual((await stack.acme.call("GET", `/v1/users/editor/access-keys/${id}`)).labels, ["team a, b"]);
});

test("a filtered list shows a new key only if the filter matches it", async (t) => {
  const { page } = await stack.signIn(t, "admin@acme.example", { place: "#keys?label=nothing-has-this-label" });
  await page.getByText("No key matches.").waitFor();
  await button(page, "Create key").click();
  await dialog(page).getByLabel("Name").fill("outside-the-filter");
  await button(page, "Generate").click();
  await copyKey(page);
  await button(page, "Close").click();
  await page.getByText("No key matches.").waitFor();
  assert.equal(await keyRow(page, "outside-the-filter").count(), 0);
});

test("links with wrong values show a list or a message, and no other resource", async (t) => {
  await stack.acme.createKey("editor", { name: "still-here", role: "viewer" });
  const { page, requests } = await stack.signIn(t, "admin@acme.example", { place: "#keys?expires=100000000&unused=x" });
  await keyRow(page, "still-here").waitFor();
  for (const link of ["#constructor", "#keys?expires=constructor&unused=constructor"]) {
    await page.goto(`${stack.url}/console${link}`);
    await keyRow(page, "still-here").waitFor();
  }
  await page.goto(`${stack.url}/console#keys?status=wrong`);
  await page.getByRole("alert").filter({ hasText: /status/i }).waitFor();
  await button(page, "Clear filters").click();
  await keyRow(page, "still-here").waitFor();
  const before = requests.length;
  await page.goto(`${stack.url}/console#keys/editor/..%2F..%2F..%2Fusers%2Fme`);
  await page.getByText("No such key exists").waitFor();
  assert.ok(requests.slice(before).every((request) => !request.url().endsWith("/v1/users/me")));
});

test("the page shows that it is loading, that a request failed and that the session has ended", async (t) => {
  const { page } = await stack.signIn(t, "admin@acme.example", { place: "#users" });
  await page.getByRole("button", { name: /^Access keys of Editor/ }).waitFor();
  const restore = await stack.refuse("list");
  const release = await hold(page, "**/v1/users/editor/access-keys?*");
  await page.getByRole("button", { name: /^Access keys of Editor/ }).click();
  await page.getByText("Loading…").waitFor();
  await inspect(page, "loading");
  release();
  await page.getByText(/^A service that this call depends on failed or did not respond in time: try again\. Request id: \S+$/).waitFor();
  await inspect(page, "failure");
  await restore();
  // The page tries again by itself, as the service has said when.
  await page.getByRole("table", { name: "Access keys of Editor" }).waitFor();

  await damageToken(page);
  await page.getByRole("button", { name: /^Access keys of Viewer/ }).click();
  await button(page, "Sign in again").waitFor();
  await inspect(page, "the session has ended");
});

test("the console works on a phone in dark mode", async (t) => {
  const { page } = await stack.signIn(t, "admin@acme.example", { viewport: NARROW });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.getByRole("table", { name: "Access Keys" }).waitFor();
  await screenshot(page, "mobile-dark");
  await page.emulateMedia({ forcedColors: "active" });
  await screenshot(page, "forced-colors");
  await page.emulateMedia({ forcedColors: "none" });
  assert.equal((await stack.validate(await generate(page, "editor@acme.example", "from-the-phone"))).active, true);
  await button(page, "Close").click();
});

test("a mock cannot have a field that the API does not send", async (t) => {
  const { page } = await stack.open(t);
  const users = await stack.acme.call("GET", "/v1/users");
  await answerWith(page, "listUsers", 200, users);
  const items = [{ ...users.items[0], agents_version: "1.2.3" }];
  for (const more of [{ total: 3 }, { items }]) await assert.rejects(answerWith(page, "listUsers", 200, { ...users, ...more }), /must NOT have/);
});
