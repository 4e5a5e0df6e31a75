// The console in a real browser, on the local stack.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, test } from "node:test";
import { NARROW, answerWith, damageToken, hold, inspect, screenshot, startStack } from "./harness.js";

const KEY = /eyJ0eXAiOiJhY2Nlc3Mta2V5K2p3dCIsImFsZyI6I[\w-]+\.[\w-]+\.[\w-]+/;

const stack = await startStack();
after(() => stack.stop());

const button = (page, name) => page.getByRole("button", { name, exact: true });
const dialog = (page) => page.getByRole("dialog");
const row = (page, name) => page.getByRole("table", { name: "Users" }).getByRole("row").filter({ has: page.getByRole("button", { name: `Actions for ${name}`, exact: true }) });
const clusterRow = (page, name) => page.getByRole("row").filter({ has: page.getByRole("button", { name: `Nodes of ${name}`, exact: true }) });
const toast = (page, text) => page.locator(".toast", { hasText: text }).last().waitFor();
/** Waits until the element with this label or text has the focus. The page moves the focus only after it has rendered. */
const hasFocus = (page, text) => page.waitForFunction((text) => (document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent) === text, text);

async function choose(page, user, item) {
  await button(page, `Actions for ${user}`).click();
  await page.getByRole("menuitem", { name: item, exact: true }).click();
}

async function openForm(page, user, name = "") {
  await choose(page, user, "Get Access Key");
  await dialog(page).getByLabel("Name").fill(name);
}

/** Copies the key that the dialog shows. Returns the content of the clipboard. */
async function copyKey(page) {
  await button(page, "Copy").click();
  await toast(page, "Token copied to clipboard");
  return page.evaluate(() => navigator.clipboard.readText());
}

/** Creates a key in the page and copies it. */
async function generate(page, user, name, role) {
  await openForm(page, user, name);
  if (role) await dialog(page).getByLabel("Role").selectOption(role);
  await button(page, "Generate").click();
  return copyKey(page);
}

/** Returns everything that the page keeps, such as document, form values and storage. Asserts that it has no database and no cache. */
async function kept(page) {
  assert.deepEqual(await page.evaluate(async () => [...(await indexedDB.databases()), ...(await caches.keys())]), []);
  return page.evaluate(() =>
    JSON.stringify([
      document.documentElement.outerHTML,
      [...document.querySelectorAll("input, textarea")].map((input) => input.value),
      { ...sessionStorage },
      { ...localStorage },
      document.cookie,
      location.href,
      history.state,
    ]),
  );
}

/** Runs the command that the page shows below `title`, with the key in the environment. */
async function runShown(page, title, key) {
  const command = await dialog(page).locator(".command", { hasText: title }).locator("pre").textContent();
  return JSON.parse(execFileSync("bash", ["-c", command], { env: { ...process.env, ACCESS_KEY: key }, stdio: ["ignore", "pipe", "ignore"] }));
}

async function requestText(request) {
  return [request.url(), request.postData() ?? "", JSON.stringify(await request.allHeaders())].join("\n");
}

test("the first view needs four responses and at most 100 KiB", async (t) => {
  const { page } = await stack.open(t);
  const network = await page.context().newCDPSession(page);
  await network.send("Network.enable");
  const sizes = new Map();
  network.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => sizes.set(requestId, encodedDataLength));
  await page.goto(`${stack.url}/console`, { waitUntil: "networkidle" });
  await button(page, "Sign in").waitFor();
  const total = [...sizes.values()].reduce((sum, size) => sum + size, 0);
  t.diagnostic(`${sizes.size} responses, ${total} bytes with headers`);
  assert.equal(sizes.size, 4, "page, style sheet, script and settings");
  assert.ok(total <= 100 * 1024, `${total} bytes`);
  await inspect(page, "welcome");
});

test("a key that is created and copied in the page works until it is revoked there", async (t) => {
  const { page, requests } = await stack.signIn(t, "admin@acme.example");
  await row(page, "Editor").waitFor();
  await screenshot(page, "users");
  await inspect(page, "users");

  await openForm(page, "Editor");
  const form = dialog(page);
  assert.ok(await button(page, "Generate").isDisabled(), "a key needs a name");
  await form.getByLabel("Name").fill("nightly-scan");
  assert.ok(await form.getByRole("radio", { name: "30 Days" }).isChecked());
  const expiry = await form.getByText("This key will expire on").locator("time").getAttribute("datetime");
  assert.ok(Math.abs(new Date(expiry) - Date.now() - 30 * 86_400_000) < 60_000, expiry);
  assert.equal(await form.getByLabel("Tenant Id").first().inputValue(), "acme");
  assert.equal(await form.getByLabel("Maximum number of clusters").inputValue(), "1");
  const roles = await form.getByLabel("Role").locator("option").allTextContents();
  assert.deepEqual(roles, ["Viewer", "Cluster Onboarding", "Editor"], "an editor's key cannot have the administrator role");
  await form.getByLabel("Role").selectOption("Editor");
  await screenshot(page, "create-key");
  await inspect(page, "create key");

  await button(page, "Generate").click();
  await toast(page, "Access Token associated successfully");
  const field = form.getByLabel("Access Key", { exact: true });
  assert.doesNotMatch(await kept(page), KEY, "the key is masked");
  await screenshot(page, "generated-key");
  await inspect(page, "generated key");
  await button(page, "Show the key").click();
  const key = await field.inputValue();
  assert.match(key, KEY);
  await button(page, "Show the key").click();
  assert.equal((await runShown(page, "Check it", key)).active, true);

  await page.keyboard.press("Escape");
  await form.getByText("You have not copied the key.").waitFor();
  await inspect(page, "warning before closing");
  await button(page, "Back to the key").click();
  assert.equal(await copyKey(page), key);
  const valid = await stack.validate(key);
  assert.deepEqual([valid.active, valid.sub, valid.role], [true, "editor", "editor"]);

  await button(page, "Close").click();
  await dialog(page).waitFor({ state: "detached" });
  const closed = requests.length;
  assert.ok(!(await kept(page)).includes(key), "the key is gone from the page after Close");

  const keys = page.getByRole("table", { name: "Access keys of Editor" });
  const line = keys.getByRole("row").filter({ hasText: "nightly-scan" });
  await line.getByText("Active").waitFor();
  assert.equal(await line.getByRole("cell").nth(4).textContent(), "0 / 1");
  assert.match(await line.locator("time").first().textContent(), /UTC$/);
  assert.match(await line.locator("time").first().getAttribute("title"), /^Your time: /);
  await inspect(page, "keys of a user");
  await button(page, "Revoke nightly-scan").click();
  await dialog(page).getByText("Whatever uses this key is refused from now on.").waitFor();
  await inspect(page, "revoke");
  await button(page, "Revoke").click();
  await line.getByText("Revoked").waitFor();
  const { active, code } = await stack.validate(key);
  assert.deepEqual({ active, code }, { active: false, code: "revoked" });

  await page.getByRole("link", { name: "Clusters" }).click();
  await page.getByRole("heading", { name: "Clusters" }).waitFor();
  await page.getByRole("link", { name: "User Management" }).click();
  await row(page, "Editor").waitFor();
  assert.ok(!(await kept(page)).includes(key), "the key does not come back");
  const later = await Promise.all(requests.slice(closed).map(requestText));
  assert.ok(later.length >= 3, "there were requests after Close");
  assert.ok(later.every((text) => !text.includes(key)), "no later request contains the key");
});

test("tokens are kept only in memory, and signing out discards them", async (t) => {
  const { page, requests } = await stack.signIn(t, "editor@acme.example");
  const { authorization } = await requests.findLast((request) => request.url().includes("/v1/")).allHeaders();
  assert.match(authorization, /^Bearer eyJ/);
  assert.ok(!(await kept(page)).includes(authorization.slice("Bearer ".length)));
  assert.equal(await page.evaluate(() => sessionStorage.length + localStorage.length), 0);
  assert.equal(page.url(), `${stack.url}/console`, "the authorization code is no longer in the URL");
  await button(page, "Sign out").click();
  await button(page, "Sign in").waitFor();
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
  await page.getByRole("alert").filter({ hasText: "This sign-in was not begun here." }).waitFor();
});

test("sign-in sends the audience and the resource that the settings contain", async (t) => {
  for (const added of [{}, { audience: "keys-api", resource: "https://keys.example/api" }]) {
    const { page, requests } = await stack.open(t);
    await page.route("**/console/config.json", async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, json: { ...(await response.json()), ...added } });
    });
    await stack.beginSignIn(page, "admin@acme.example");
    await page.getByRole("heading", { name: "User Management" }).waitFor();
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

test("the page explains a deactivated account and a token that the service rejects", async (t) => {
  await stack.acme.call("PATCH", "/v1/users/viewer", { status: "inactive" });
  const { page } = await stack.open(t);
  await stack.beginSignIn(page, "viewer@acme.example");
  await page.getByRole("alert").filter({ hasText: "Your account is deactivated: ask an administrator." }).waitFor();
  await stack.acme.call("PATCH", "/v1/users/viewer", { status: "active" });
  await damageToken(page);
  await stack.beginSignIn(page, "viewer@acme.example");
  await page.getByRole("alert").filter({ hasText: "does not accept the identity provider's token" }).waitFor();
});

test("a viewer sees only their own account, without administrator actions", async (t) => {
  const { page, requests } = await stack.signIn(t, "viewer@acme.example");
  assert.equal(await page.getByRole("table", { name: "Users" }).getByRole("row").count(), 2, "the header row and the viewer's row");
  await button(page, "Actions for Viewer").click();
  assert.deepEqual(await page.getByRole("menuitem").allTextContents(), ["Get Access Key", "View Permissions"]);
  await page.keyboard.press("Escape");
  for (const name of ["Deactivated Users", "Limit", "Delete"]) assert.equal(await page.getByRole("button", { name }).count(), 0, name);
  assert.equal((await stack.validate(await generate(page, "Viewer", "mine"))).role, "viewer");
  await button(page, "Close").click();
  await button(page, "Revoke mine").waitFor();
  assert.equal(await page.getByRole("button", { name: "Limit" }).count(), 0);
  await openForm(page, "Viewer");
  assert.deepEqual(await dialog(page).getByLabel("Role").locator("option").allTextContents(), ["Viewer"]);
  await button(page, "Cancel").click();
  await inspect(page, "a viewer's page");
  assert.ok(requests.every((request) => !/\/v1\/users(\?|$)/.test(request.url())), "the page does not request the list of users");
});

test("a tenant sees nothing of another tenant", async (t) => {
  await stack.acme.createKey("editor", { name: "acme-only", role: "viewer" });
  const { page } = await stack.signIn(t, "admin@globex.example");
  await row(page, "Admin").waitFor();
  await page.getByRole("button", { name: "Access keys of Admin" }).click();
  await page.getByText("No access keys yet.").waitFor();
  assert.ok(!(await kept(page)).includes("acme"));
  await inspect(page, "no keys yet");
});

test("markup in names is shown as text", async (t) => {
  const name = "<img src=x onerror=alert(1)>";
  await stack.acme.call("PUT", "/v1/users/markup", { role: "viewer", name, email: "markup@acme.example" });
  await stack.acme.createKey("markup", { name, role: "viewer" });
  const { page } = await stack.signIn(t, "admin@acme.example");
  await button(page, `Access keys of ${name}`).click();
  await page.getByRole("table", { name: `Access keys of ${name}` }).getByText(name, { exact: true }).waitFor();
  await button(page, `Revoke ${name}`).click();
  await dialog(page).getByRole("heading", { name: `Revoke ${name}?` }).waitFor();
  assert.equal(await page.locator("img").count(), 0);
  await button(page, "Cancel").click();
  await stack.acme.call("DELETE", "/v1/users/markup");
});

test("each error is shown next to its field", async (t) => {
  const { page, requests } = await stack.signIn(t, "admin@acme.example");
  await openForm(page, "Editor");
  const form = dialog(page);
  const errorOf = (label) => form.locator(".field", { has: page.getByLabel(label) }).locator(".error").textContent();
  await form.getByLabel("Name").fill("🔑".repeat(65));
  await form.getByLabel("Maximum number of clusters").fill("101");
  await form.getByRole("radio", { name: "Custom" }).check();
  const before = requests.length;
  await button(page, "Generate").click();
  assert.equal(await errorOf("Name"), "Must have at most 64 characters.");
  assert.equal(await errorOf("Maximum number of clusters"), "Must be a whole number from 1 to 100.");
  assert.match(await errorOf("Last day (UTC)"), /^Choose a day from \d{4}-\d\d-\d\d to/);
  assert.equal(requests.length, before, "no request was sent");
  await inspect(page, "wrong fields");

  const day = new Date(Date.now() + 40 * 86_400_000).toISOString().slice(0, 10);
  await form.getByLabel("Last day (UTC)").fill(day);
  await form.getByLabel("Maximum number of clusters").fill("100");
  await form.getByLabel("Name").fill("\u202enimda");
  await button(page, "Generate").click();
  await form.getByText("Must not contain control characters").waitFor();
  assert.match(await errorOf("Name"), /^Must not contain control characters/, "the API's message is next to the field that it names");

  await form.getByLabel("Name").fill("custom");
  assert.equal(await form.getByText("This key will expire on").locator("time").getAttribute("datetime"), `${day}T23:59:59.000Z`);
  await button(page, "Generate").click();
  const { exp } = await stack.validate(await copyKey(page));
  assert.equal(exp, Date.parse(`${day}T23:59:59Z`) / 1000);
  await button(page, "Close").click();
});

test("a retry after a lost response creates no second key", async (t) => {
  const { page } = await stack.signIn(t, "admin@acme.example");
  const attempts = [];
  await page.route("**/access-keys", async (route) => {
    attempts.push(route.request().headers()["idempotency-key"]);
    const response = await route.fetch();
    assert.equal(response.status(), 201);
    return attempts.length === 1 ? route.abort() : route.fulfill({ response });
  }, { times: 2 });
  await openForm(page, "Viewer", "once");
  await button(page, "Generate").click();
  await dialog(page).getByText("The service cannot be reached.").waitFor();
  await hasFocus(page, "Generate");
  await button(page, "Generate").click();
  assert.equal((await stack.validate(await copyKey(page))).active, true);
  assert.equal(attempts.length, 2);
  assert.equal(attempts[0], attempts[1]);
  const { items } = await stack.acme.call("GET", "/v1/users/viewer/access-keys");
  assert.equal(items.filter(({ name }) => name === "once").length, 1);
});

test("the page warns before a key is lost, and lets the user discard it", async (t) => {
  const { page } = await stack.signIn(t, "admin@acme.example");
  await openForm(page, "Viewer", "given-up");
  const release = await hold(page, "**/access-keys");
  await button(page, "Generate").click();
  await button(page, "Generating…").waitFor();
  await page.keyboard.press("Escape");
  await button(page, "Cancel").click({ force: true });
  release();
  await button(page, "Copy").waitFor();
  for (const leave of [() => page.keyboard.press("Escape"), () => button(page, "Close dialog").click(), () => button(page, "Close").click()]) {
    await leave();
    await button(page, "Back to the key").click();
  }
  const question = page.waitForEvent("dialog");
  await page.evaluate(() => location.reload());
  assert.equal((await question).type(), "beforeunload");
  await button(page, "Sign in").waitFor();

  const again = await stack.signIn(t, "admin@acme.example");
  await openForm(again.page, "Viewer", "given-up");
  await button(again.page, "Generate").click();
  await button(again.page, "Close").click();
  await button(again.page, "Close without the key").click();
  await dialog(again.page).waitFor({ state: "detached" });
  assert.doesNotMatch(await kept(again.page), KEY);
});

test("menus and dialogs work with the keyboard", async (t) => {
  const { page } = await stack.signIn(t, "admin@acme.example");
  await button(page, "Actions for Editor").focus();
  await page.keyboard.press("ArrowDown");
  await hasFocus(page, "Get Access Key");
  await page.keyboard.press("ArrowUp");
  await hasFocus(page, "Delete");
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowDown");
  await hasFocus(page, "View Permissions");
  await inspect(page, "menu");
  await page.keyboard.press("Escape");
  await hasFocus(page, "Actions for Editor");
  await page.keyboard.press("Enter");
  await hasFocus(page, "Get Access Key");
  await page.keyboard.press("Enter");
  await dialog(page).waitFor();
  await page.waitForFunction(() => document.activeElement.labels?.[0]?.textContent.trim() === "Name *");
  for (let presses = 0; presses < 30; presses++) {
    await page.keyboard.press("Tab");
    const isInside = await page.evaluate(() => document.activeElement === document.body || document.activeElement.closest("dialog") !== null);
    assert.ok(isInside, "the focus stays in the dialog");
  }
  await page.keyboard.press("Escape");
  await dialog(page).waitFor({ state: "detached" });
  await hasFocus(page, "Actions for Editor");
});

test("an administrator can search, page through, change, deactivate, reactivate and delete users", async (t) => {
  const ids = Array.from({ length: 60 }, (_, n) => `member-${String(n).padStart(2, "0")}`);
  for (const id of ids) await stack.globex.call("PUT", `/v1/users/${id}`, { role: "viewer", name: id, email: `${id}@globex.example` });
  const { page } = await stack.signIn(t, "admin@globex.example");
  const names = () => page.getByRole("table", { name: "Users" }).getByRole("row").locator("b").allTextContents();
  await row(page, "member-08").waitFor();
  assert.deepEqual(await names(), ["Admin", ...ids.slice(0, 9)]);
  for (let next = 1; next <= 5; next++) await button(page, "Next").click();
  await row(page, "member-50").waitFor();
  await page.getByText("51–60 of 61").waitFor();
  await button(page, "Next").click();
  await row(page, "member-59").waitFor();
  assert.ok(await button(page, "Next").isDisabled());
  await inspect(page, "the last page of users");
  await page.getByLabel("Search users").fill("member");
  await row(page, "member-00").waitFor();
  await page.getByLabel("Search users").fill("nobody at all");
  await page.getByText("No user matches").waitFor();
  await inspect(page, "no user found");
  await page.getByLabel("Search users").fill("globex viewer 42");
  await row(page, "member-42").waitFor();
  assert.deepEqual(await names(), ["member-42"]);

  await choose(page, "member-42", "View Permissions");
  await dialog(page).getByText("clusters:read").waitFor();
  await inspect(page, "permissions");
  await button(page, "Close").click();
  await choose(page, "member-42", "Change role");
  await dialog(page).getByRole("radio", { name: "Editor" }).check();
  await inspect(page, "change role");
  await button(page, "Save").click();
  await toast(page, "member-42 is now Editor");
  await page.getByLabel("Search users").fill("42");
  assert.match(await row(page, "member-42").textContent(), /Editor/);

  await choose(page, "member-42", "Deactivate");
  await inspect(page, "deactivate");
  await button(page, "Deactivate").click();
  await page.getByText("No user matches").waitFor();
  await button(page, "Deactivated Users").click();
  await button(page, "Actions for member-42").click();
  assert.deepEqual(await page.getByRole("menuitem").allTextContents(), ["View Permissions", "Change role", "Reactivate", "Delete"]);
  await page.getByRole("menuitem", { name: "Reactivate" }).click();
  await button(page, "Reactivate").click();
  await button(page, "Users in Workspace").click();
  await choose(page, "member-42", "Delete");
  await inspect(page, "delete");
  await button(page, "Delete").click();
  await toast(page, "member-42 is deleted");
  await hasFocus(page, "User Management");

  await page.getByLabel("Search users").fill("admin@globex");
  await choose(page, "Admin", "Deactivate");
  await button(page, "Deactivate").click();
  await dialog(page).getByText("This is the tenant's last active administrator: make another one first.").waitFor();
  await button(page, "Cancel").click();
});

test("the page shows that it is loading, that a request failed and that the session has ended", async (t) => {
  const { page } = await stack.signIn(t, "admin@acme.example");
  await row(page, "Editor").waitFor();
  await stack.acme.createKey("editor", { name: "any", role: "viewer" });
  const restore = await stack.refuse("list");
  const release = await hold(page, "**/v1/users/editor/access-keys?*");
  await button(page, "Access keys of Editor").click();
  await page.getByText("Loading…").waitFor();
  await inspect(page, "loading");
  release();
  await page.getByText(/^A service that this call depends on failed or did not respond in time: try again\. Request id: \S+$/).waitFor();
  await inspect(page, "failure");
  await restore();
  await button(page, "Try again").click();
  await page.getByRole("table", { name: "Access keys of Editor" }).waitFor();

  await damageToken(page);
  await button(page, "Access keys of Viewer").click();
  await button(page, "Sign in again").waitFor();
  await inspect(page, "the session has ended");
});

test("clusters are listed with their nodes and keys, and only users with the permission can delete them", async (t) => {
  const { access_key } = await stack.acme.createKey("editor", { name: "onboarding", role: "cluster_onboarding", max_clusters: 2 });
  for (const node_name of ["node-a", "node-b", "node-c"]) await stack.onboard(access_key, { cluster_name: "prod", node_name, type: "K8s" });
  await stack.onboard(access_key, { cluster_name: "edge", type: "vm" });
  // A cluster becomes inactive after 30 days.
  const listed = await stack.acme.call("GET", "/v1/clusters");
  const past = { status: "inactive", created_at: "2026-01-01T10:00:00Z", last_seen_at: "2026-01-02T10:00:00Z" };
  const items = listed.items.map((cluster) => (cluster.name === "edge" ? { ...cluster, ...past } : cluster));
  const { page } = await stack.signIn(t, "admin@acme.example");
  await answerWith(page, "listClusters", 200, { ...listed, items });
  await page.getByRole("link", { name: "Clusters" }).click();
  await clusterRow(page, "edge").getByRole("cell", { name: "onboarding" }).waitFor();
  assert.match(await clusterRow(page, "edge").textContent(), /edge.*Virtual machine.*Inactive.*onboarding.*Jan 2, 2026/);
  assert.match(await clusterRow(page, "prod").textContent(), /prod.*Kubernetes.*Active.*onboarding/);
  const nodes = page.getByRole("table", { name: "Nodes of prod" });
  await button(page, "Nodes of prod").click();
  await nodes.waitFor();
  assert.deepEqual(await nodes.locator("b").allTextContents(), ["node-a", "node-b", "node-c"]);
  assert.match(await nodes.getByRole("row").last().textContent(), /^node-cActive.* UTC.* UTC$/);
  await screenshot(page, "clusters");
  await inspect(page, "clusters");

  // A response holds at most 1000 nodes.
  const { nodes: [node], ...prod } = await stack.acme.call("GET", "/v1/clusters/prod");
  await answerWith(page, "getCluster", 200, { ...prod, nodes: [node] });
  await button(page, "Nodes of prod").click();
  await button(page, "Nodes of prod").click();
  await page.getByText("1 of 3 nodes are shown.").waitFor();
  await inspect(page, "some of the nodes");

  await button(page, "Delete prod").click();
  await dialog(page).getByRole("listitem").filter({ hasText: "onboarding" }).waitFor();
  await inspect(page, "delete a cluster");
  await button(page, "Delete").click();
  await toast(page, "The cluster prod is deleted");
  assert.equal(await button(page, "Delete prod").count(), 0);
  await hasFocus(page, "Clusters");
  assert.deepEqual((await stack.acme.call("GET", "/v1/clusters")).items.map(({ name }) => name), ["edge"]);

  const viewer = await stack.signIn(t, "viewer@acme.example");
  await viewer.page.getByRole("link", { name: "Clusters" }).click();
  await viewer.page.getByRole("cell", { name: "edge", exact: true }).waitFor();
  assert.equal(await viewer.page.getByRole("button", { name: "Delete" }).count(), 0);
});

test("a mock cannot have a field that the API does not send", async (t) => {
  const { page } = await stack.open(t);
  const users = await stack.acme.call("GET", "/v1/users");
  await answerWith(page, "listUsers", 200, users);
  const items = [{ ...users.items[0], agents_version: "1.2.3" }];
  for (const more of [{ total: 3 }, { items }]) await assert.rejects(answerWith(page, "listUsers", 200, { ...users, ...more }), /must NOT have/);
});

test("a cluster onboarded with the page's command is listed, and deleting it frees the slot", async (t) => {
  const { page } = await stack.signIn(t, "admin@acme.example");
  const key = await generate(page, "Editor", "agents", "Cluster Onboarding");
  assert.equal((await runShown(page, "Onboard a cluster", key)).message, "success");
  await button(page, "Close").click();
  await page.getByRole("table", { name: "Access keys of Editor" }).waitFor();

  await page.getByRole("link", { name: "Clusters" }).click();
  await clusterRow(page, "my-cluster").getByRole("cell", { name: "agents" }).waitFor();
  await button(page, "Nodes of my-cluster").click();
  await page.getByText("No node has reported yet.").waitFor();
  const slots = async () => (await stack.validate(key)).clusters_used;
  assert.equal(await slots(), 1);
  await button(page, "Delete my-cluster").click();
  await dialog(page).getByRole("listitem").filter({ hasText: "agents" }).waitFor();
  await button(page, "Delete").click();
  await toast(page, "The cluster my-cluster is deleted");
  assert.equal(await slots(), 0);
});

test("a tenant without clusters and a deployment without the cluster API look different", async (t) => {
  const { page } = await stack.signIn(t, "admin@globex.example");
  await page.getByRole("link", { name: "Clusters" }).click();
  await page.getByText("No cluster is onboarded yet.").waitFor();
  await inspect(page, "no clusters");
  await page.getByRole("link", { name: "User Management" }).click();
  await page.route("**/v1/clusters?*", (route) => route.continue({ url: `${stack.url}/v1/no-such-route` }));
  await page.getByRole("link", { name: "Clusters" }).click();
  await page.getByText("This deployment does not offer that.").waitFor();
  await inspect(page, "a deployment without clusters");
});

test("an administrator changes how many clusters a key may connect", async (t) => {
  await stack.acme.createKey("editor", { name: "limited", role: "editor", max_clusters: 5 });
  const { page } = await stack.signIn(t, "admin@acme.example");
  await button(page, "Access keys of Editor").click();
  await button(page, "Limit clusters of limited").click();
  await dialog(page).getByLabel("Maximum number of clusters").fill("6");
  await button(page, "Save").click();
  await dialog(page).getByText("Must be a whole number from 1 to 5, the limit that was last signed into the key.").waitFor();
  await inspect(page, "limit");
  await dialog(page).getByLabel("Maximum number of clusters").fill("3");
  const request = page.waitForRequest((request) => request.method() === "PATCH");
  await button(page, "Save").click();
  assert.deepEqual((await request).postDataJSON(), { max_clusters: 3 });
  await page.getByRole("cell", { name: "0 / 3" }).waitFor();
});

test("the console works on a phone in dark mode", async (t) => {
  const { page } = await stack.signIn(t, "admin@acme.example", NARROW);
  await page.emulateMedia({ colorScheme: "dark" });
  await button(page, "Access keys of Editor").click();
  await page.getByRole("table", { name: "Access keys of Editor" }).waitFor();
  await screenshot(page, "mobile-dark");
  assert.equal((await stack.validate(await generate(page, "Editor", "from-the-phone"))).active, true);
  await button(page, "Close").click();
});
