// Access to the page and to what it lists: sign-in and sign-out, the number of requests, the focus, dates, limits,
// waiting, and browsers that refuse something.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { answerWith, startStack } from "./harness.js";
import { button, choose, copyKey, dialog, hasFocus, keyRow, openForm, toast, userRow, visit } from "./page.js";

const ADMIN = "admin@acme.example";
const LARGE = "admin@globex.example";
const MANY = 250;
const DAY = 86_400;

const stack = await startStack();
after(() => stack.stop());

let first;

/** A tenant with more users, keys and clusters than the service returns in three pages. */
before(async () => {
  const people = Array.from({ length: MANY }, (_, n) => `person-${n}`);
  await Promise.all(people.map((id, n) => stack.globex.call("PUT", `/v1/users/${id}`, { role: "viewer", name: `Person Number${n}`, email: `${id}@globex.example` })));
  await Promise.all(people.map((id) => stack.globex.createKey(id, { name: `key-of-${id}`, role: "viewer" })));
  first = await stack.globex.createKey("admin", { name: "onboarding", role: "cluster_onboarding", max_clusters: 3 });
  for (const cluster_name of ["a", "b", "c"]) await stack.onboard(first.access_key, { cluster_name, type: "vm" });
});

const isCall = (request) => request.url().startsWith(`${stack.url}/v1/`);
const isSignIn = (request) => request.isNavigationRequest() && new URL(request.url()).pathname === "/authorize";

/** Waits until all effects of the last rendering have run. */
const nextFrame = (page) => page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve))));

/** Waits until all calls are answered, and no further call follows. */
async function settle(page, requests) {
  for (let known = 0; known < requests.length;) {
    known = requests.length;
    await Promise.all(requests.map(async (request) => (await request.response())?.finished()));
    await nextFrame(page);
    await nextFrame(page);
  }
}

/** Goes to a place in the page without loading it again. */
const goTo = (page, place) => page.evaluate((hash) => { location.hash = hash; }, place);

const lastRow = (page, table, rows) => page.getByRole("table", { name: table }).getByRole("row").nth(rows);

/** The views of a large tenant, and what is visible in each as soon as its first page is complete. */
const VIEWS = {
  "#keys": (page) => lastRow(page, "Access Keys", 20),
  "#keys?status=active&role=cluster_onboarding": (page) => keyRow(page, "onboarding").getByRole("button", { name: /^Actions for / }),
  "#users": (page) => lastRow(page, "Users", 10),
  "#users?q=number200": (page) => userRow(page, "person-200@globex.example"),
  "#clusters": (page) => button(page, "Actions for a"),
  "#activity": (page) => lastRow(page, "Activity", 20),
  key: (page) => page.getByRole("button", { name: /^Revoke onboarding/ }),
};

for (const [place, sign] of Object.entries(VIEWS)) {
  test(`${place}: the first page is usable after one round trip, and needs at most 3 requests, in a large tenant`, async (t) => {
    const { page, requests } = await stack.signIn(t, LARGE, { place: "#activity?action=cluster.deleted" });
    await page.getByText("No activity matches.").waitFor();
    const waiting = [];
    await page.route("**/v1/**", (route) => waiting.push(route));
    const before = requests.filter(isCall).length;
    const begun = page.waitForRequest(isCall);
    await goTo(page, place === "key" ? `#keys/admin/${first.id}` : place);
    await begun;
    await nextFrame(page);
    await Promise.all(waiting.splice(0).map((route) => route.continue()));
    await sign(page).waitFor();
    for (const route of waiting) await route.continue();
    await page.unroute("**/v1/**");
    await settle(page, requests);
    const sent = requests.filter(isCall).slice(before).map((request) => request.url());
    assert.ok(sent.length >= 1 && sent.length <= 3, sent.join("\n"));
  });
}

test("a search in User Management needs at most 3 requests in a large tenant", async (t) => {
  const { page, requests } = await stack.signIn(t, LARGE, { place: "#users" });
  await userRow(page, LARGE).waitFor();
  for (const n of [249, 117]) {
    const before = requests.filter(isCall).length;
    await page.getByLabel("Search users").fill(`person number${n}`);
    await page.waitForURL(new RegExp(`number${n}`));
    await userRow(page, `person-${n}@globex.example`).waitFor();
    await settle(page, requests);
    assert.equal(await page.getByRole("table", { name: "Users" }).getByRole("row").count(), 2, "the header row and the person");
    const sent = requests.filter(isCall).slice(before).map((request) => request.url());
    assert.ok(sent.length <= 3, sent.join("\n"));
  }
});

test("the field for a person finds one of many with at most 3 requests", async (t) => {
  const { page, requests } = await stack.signIn(t, LARGE);
  await button(page, "Create key").click();
  const before = requests.filter(isCall).length;
  const field = dialog(page).getByRole("combobox", { name: "Owner" });
  await field.focus();
  await page.keyboard.press("ControlOrMeta+a");
  await field.pressSequentially("number233");
  const option = dialog(page).getByRole("option", { name: "Person Number233" });
  await option.waitFor();
  assert.equal(await field.inputValue(), "number233", "the text stays as it was typed");
  await option.click();
  assert.equal(await field.inputValue(), "Person Number233, person-233@globex.example");
  const sent = requests.filter(isCall).slice(before).map((request) => request.url());
  assert.ok(sent.length >= 1 && sent.length <= 3, sent.join("\n"));
});

test("clearing the filters empties the field for a person", async (t) => {
  const { page } = await stack.signIn(t, ADMIN, { place: "#activity?actor=user%3Aeditor" });
  const field = page.getByRole("combobox", { name: "Who" });
  assert.equal(await field.inputValue(), "editor");
  await button(page, "Clear filters").click();
  await button(page, "Clear filters").waitFor({ state: "detached" });
  assert.equal(await field.inputValue(), "");
});

/** Waits until an element inside the page has the focus, and returns what names it. */
async function focused(page) {
  await page.waitForFunction(() => document.activeElement && document.activeElement !== document.body);
  return page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent);
}

test("paging to the last page and back keeps the focus on the button", async (t) => {
  const { page } = await stack.signIn(t, LARGE, { place: "#users?q=number24" });
  // Number24 and Number240 to Number249.
  await page.getByText("1–10 of 11").waitFor();
  await button(page, "Next").focus();
  await page.keyboard.press("Enter");
  await page.getByText("11–11 of 11").waitFor();
  await hasFocus(page, "Next");
  await page.keyboard.press("Enter");
  await page.getByText("11–11 of 11").waitFor();
  await button(page, "Previous").focus();
  await page.keyboard.press("Enter");
  await page.getByText("1–10 of 11").waitFor();
  await hasFocus(page, "Previous");
});

test("after Revoke in a list, the focus returns to the menu of the key", async (t) => {
  await stack.acme.createKey("editor", { name: "focus-list", role: "viewer" });
  const { page } = await stack.signIn(t, ADMIN);
  await choose(page, keyRow(page, "focus-list"), "Revoke");
  await button(page, "Revoke").click();
  await keyRow(page, "focus-list").getByText("Revoked").waitFor();
  assert.match(await focused(page), /^Actions for focus-list /);
});

test("after Revoke on the page of a key, where the button is gone, its heading has the focus", async (t) => {
  const { id } = await stack.acme.createKey("editor", { name: "focus-page", role: "viewer" });
  const { page } = await stack.signIn(t, ADMIN, { place: `#keys/editor/${id}` });
  await page.getByRole("button", { name: /^Revoke focus-page/ }).click();
  await button(page, "Revoke").click();
  await page.getByText("Revoked", { exact: true }).first().waitFor();
  await hasFocus(page, "focus-page");
});

test("after the deletion of a user, whose row is gone, the heading has the focus", async (t) => {
  await stack.acme.call("PUT", "/v1/users/leaving", { role: "viewer", name: "Leaving", email: "leaving@acme.example" });
  const { page } = await stack.signIn(t, ADMIN, { place: "#users" });
  await choose(page, userRow(page, "leaving@acme.example"), "Delete");
  await button(page, "Delete").click();
  await toast(page, "Leaving is deleted");
  await hasFocus(page, "User Management");
});

for (const place of ["#keys?status=revoked", "#activity?action=user.created"]) {
  test(`${place}: clearing the filters keeps the focus in the view`, async (t) => {
    const { page } = await stack.signIn(t, ADMIN, { place });
    await button(page, "Clear filters").focus();
    await page.keyboard.press("Enter");
    await button(page, "Clear filters").waitFor({ state: "detached" });
    assert.ok(await page.evaluate(() => document.activeElement.closest("main") !== null));
  });
}

test("Try again keeps the focus in the view", async (t) => {
  const { page } = await stack.signIn(t, ADMIN, { place: "#users" });
  await answerWith(page, "listClusters", 500, {
    type: "about:blank", title: "Internal Server Error", status: 500, detail: "the service failed", code: "internal_error", request_id: "r",
  });
  await visit(page, "Clusters");
  await button(page, "Try again").focus();
  await page.keyboard.press("Enter");
  await button(page, "Try again").waitFor({ state: "detached" });
  assert.ok(await page.evaluate(() => document.activeElement.closest("main") !== null));
});

test("the first focus of each dialog is not its X, and closing it returns the focus to the button that opened it", async (t) => {
  await stack.acme.createKey("editor", { name: "dialogs", role: "viewer" });
  const { page } = await stack.signIn(t, ADMIN);
  const check = async (name, opener) => {
    await dialog(page).waitFor();
    assert.ok(await page.evaluate(() => document.activeElement.matches("dialog :is(h2, input)")), `${name}: ${await focused(page)}`);
    await button(page, "Close dialog").click();
    await dialog(page).waitFor({ state: "detached" });
    assert.ok(await opener.evaluate((element) => element === document.activeElement), name);
  };
  for (const name of ["Found a key?", "Create key"]) {
    await button(page, name).click();
    await check(name, button(page, name));
  }
  const inMenus = async (row, items) => {
    for (const item of items) {
      await choose(page, row, item);
      await check(item, row.getByRole("button", { name: /^Actions for / }));
    }
  };
  await inMenus(keyRow(page, "dialogs"), ["Rotate", "Change", "Revoke"]);
  await visit(page, "User Management");
  await inMenus(userRow(page, "editor@acme.example"), ["Get Access Key", "View Permissions", "Change role", "Revoke all keys", "Deactivate", "Delete"]);
});

test("a link to a place with a filter survives the sign-in", async (t) => {
  const { page } = await stack.signIn(t, ADMIN, { place: "#keys?status=revoked&label=none" });
  await page.getByText("No key matches.").waitFor();
  assert.equal(page.url(), `${stack.url}/console#keys?status=revoked&label=none`);
  assert.equal(await page.getByLabel("Status", { exact: true }).inputValue(), "revoked");
});

test("a reload signs in silently, with one redirect, and returns to the same place", async (t) => {
  const { page, requests } = await stack.signIn(t, ADMIN, { place: "#users?role=editor" });
  await userRow(page, "editor@acme.example").waitFor();
  const before = requests.length;
  await page.reload();
  await userRow(page, "editor@acme.example").waitFor();
  const redirects = requests.slice(before).filter(isSignIn);
  assert.deepEqual(redirects.map((request) => new URL(request.url()).searchParams.get("prompt")), ["none"]);
  assert.equal(page.url(), `${stack.url}/console#users?role=editor`);
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
});

test("without a session of the provider, the page offers the sign-in after one redirect", async (t) => {
  const { page, requests } = await stack.open(t);
  for (const [load, redirects] of [[() => page.goto(`${stack.url}/console#clusters`), 1], [() => page.reload(), 2]]) {
    await load();
    await page.waitForURL((url) => !url.search);
    await button(page, "Sign in").waitFor();
    assert.equal(requests.filter(isSignIn).length, redirects);
    assert.equal(page.url(), `${stack.url}/console#clusters`);
    assert.equal(await page.getByRole("alert").count(), 0, "being signed out is not an error");
  }
});

/** The provider's answer to a request to sign in. */
const answerSignIn = (page, query) => page.route(({ pathname }) => pathname === "/authorize", (route) => {
  const state = new URL(route.request().url()).searchParams.get("state");
  const place = `${stack.url}/console${query && `?${query}&state=${state}`}`;
  return route.fulfill({ contentType: "text/html", body: `<!doctype html><meta http-equiv="refresh" content="0;url=${place.replaceAll("&", "&amp;")}">` });
});

test("a provider whose response loses its query does not cause a loop", async (t) => {
  const { page, requests } = await stack.open(t);
  await answerSignIn(page, "");
  await page.goto(`${stack.url}/console`);
  await button(page, "Sign in").waitFor();
  await page.waitForLoadState("networkidle");
  assert.equal(requests.filter(isSignIn).length, 1);
  assert.ok(await button(page, "Sign in").isVisible());
});

for (const error of ["interaction_required", "account_selection_required", "consent_required"]) {
  test(`the page offers the sign-in if a silent one is answered with ${error}`, async (t) => {
    const { page, requests } = await stack.open(t);
    await answerSignIn(page, `error=${error}`);
    await page.goto(`${stack.url}/console#activity`);
    await button(page, "Sign in").waitFor();
    assert.equal(requests.filter(isSignIn).length, 1);
    assert.equal(await page.getByRole("alert").count(), 0);
    assert.equal(page.url(), `${stack.url}/console#activity`);
  });
}

test("signing out ends the session of the provider, so that the next visit shows the sign-in page", async (t) => {
  const { page } = await stack.signIn(t, ADMIN);
  await button(page, "Sign out").click();
  await page.getByText("You are signed out of this page.").waitFor();
  await page.waitForURL(`${stack.url}/console`);
  const next = await page.context().newPage();
  await next.goto(`${stack.url}/console`);
  await button(next, "Sign in").click();
  await next.getByRole("heading", { name: "Sign in as" }).waitFor();
});

/** Changes the provider's metadata. */
const describeProvider = (page, change) => page.route("**/.well-known/openid-configuration", async (route) => {
  const response = await route.fetch();
  await route.fulfill({ response, json: change(await response.json()) });
});

test("the sign-out URL contains the ID token only if the API would refuse it", async (t) => {
  for (const isShared of [false, true]) {
    const { page } = await stack.open(t);
    await page.route("**/token", async (route) => {
      const response = await route.fetch();
      const tokens = await response.json();
      const read = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
      const [header, , signature] = tokens.id_token.split(".");
      const claims = read(tokens.id_token);
      if (isShared) claims.aud = [claims.aud, read(tokens.access_token).aud].flat();
      const id_token = [header, Buffer.from(JSON.stringify({ ...claims, azp: "access-keys-console" })).toString("base64url"), signature].join(".");
      await route.fulfill({ response, json: { ...tokens, id_token } });
    });
    await stack.beginSignIn(page, ADMIN);
    await page.getByRole("heading", { name: "Access Keys", level: 1 }).waitFor();
    const logout = page.waitForRequest((request) => new URL(request.url()).pathname === "/logout");
    await button(page, "Sign out").click();
    assert.equal(new URL((await logout).url()).searchParams.has("id_token_hint"), !isShared);
  }
});

test("the page says so if the provider has no sign-out, and a reload does not sign in silently", async (t) => {
  const { page, requests } = await stack.signIn(t, ADMIN);
  await describeProvider(page, ({ end_session_endpoint: _, ...others }) => others);
  await button(page, "Sign out").click();
  await page.getByText("Your session at the identity provider could not be ended.").waitFor();
  const before = requests.length;
  await page.reload();
  await button(page, "Sign in").waitFor();
  await page.waitForLoadState("networkidle");
  assert.equal(requests.slice(before).filter(isSignIn).length, 0);
});

test("signing out at Amazon Cognito uses its own endpoint and parameters", async (t) => {
  const COGNITO = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_pool";
  // The policy of the page names the local provider.
  const { page } = await stack.open(t, undefined, { bypassCSP: true });
  // The local provider under Cognito's name: in the settings, in the metadata and in ID tokens.
  let local;
  await page.route("**/console/config.json", async (route) => {
    const response = await route.fetch();
    const settings = await response.json();
    local = settings.issuer;
    await route.fulfill({ response, json: { ...settings, issuer: COGNITO } });
  });
  await page.route(`${COGNITO}/.well-known/openid-configuration`, async (route) => {
    const { end_session_endpoint: _, ...metadata } = await (await fetch(`${local}/.well-known/openid-configuration`)).json();
    // The page requires HTTPS of a provider that is not on this machine.
    const token_endpoint = `${COGNITO}/token`;
    await route.fulfill({ json: { ...metadata, issuer: COGNITO, token_endpoint }, headers: { "access-control-allow-origin": "*" } });
  });
  await page.route(`${COGNITO}/token`, async (route) => {
    const response = await fetch(`${local}/token`, { method: "POST", body: route.request().postData(), headers: { "content-type": "application/x-www-form-urlencoded" } });
    const tokens = await response.json();
    const [header, claims, signature] = tokens.id_token.split(".");
    const renamed = { ...JSON.parse(Buffer.from(claims, "base64url")), iss: COGNITO };
    const id_token = [header, Buffer.from(JSON.stringify(renamed)).toString("base64url"), signature].join(".");
    await route.fulfill({ json: { ...tokens, id_token }, headers: { "access-control-allow-origin": "*" } });
  });
  await stack.beginSignIn(page, ADMIN);
  const logout = page.waitForRequest((request) => new URL(request.url()).pathname === "/logout");
  await button(page, "Sign out").click();
  const url = new URL((await logout).url());
  assert.equal(url.origin, new URL(local).origin, "the origin of the sign-in page");
  assert.deepEqual(Object.fromEntries(url.searchParams), { client_id: "access-keys-console", logout_uri: `${stack.url}/console` });
});

/** Opens a window in another time zone, with the form to create a key. */
async function openFormIn(t, timezoneId) {
  const { page, requests } = await stack.open(t, undefined, { timezoneId });
  await stack.beginSignIn(page, ADMIN);
  await openForm(page, "editor@acme.example");
  return { page, requests };
}

/** The sentence that says when the key will expire. */
const expiryOf = (page) => dialog(page).locator("p", { hasText: "This key will expire on" });

/** A moment as the page writes it: in UTC, and in the time zone of Nepal. */
function inNepal(at) {
  const part = (timeZone) => Object.fromEntries(new Intl.DateTimeFormat("en-US", {
    timeZone, weekday: "long", year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23",
  }).formatToParts(new Date(at)).map(({ type, value }) => [type, value]));
  const [utc, local] = [part("UTC"), part("Asia/Kathmandu")];
  return `${utc.weekday}, ${utc.month} ${utc.day} ${utc.year}, ${utc.hour}:${utc.minute} UTC (${local.weekday}, ${local.month} ${local.day}, ${local.hour}:${local.minute} GMT+5:45 in your time zone)`;
}

test("presets say when the key expires, in UTC and in the user's time zone, as text", async (t) => {
  const { page } = await openFormIn(t, "Asia/Kathmandu");
  for (const days of [7, 15, 30]) {
    await dialog(page).getByRole("radio", { name: `${days} Days` }).check({ force: true });
    const text = expiryOf(page);
    const at = await text.locator("time").getAttribute("datetime");
    assert.ok(Math.abs(new Date(at) - Date.now() - days * DAY * 1000) < 60_000, at);
    assert.equal(await text.textContent(), `This key will expire on ${inNepal(at)}.`);
  }
});

test("a custom time is entered in UTC, and repeated in the user's time zone", async (t) => {
  const { page } = await openFormIn(t, "Asia/Kathmandu");
  await dialog(page).getByLabel("Name").fill("in-nepal");
  await dialog(page).getByRole("radio", { name: "Custom" }).check({ force: true });
  const at = new Date(Date.now() + 10 * DAY * 1000).toISOString().slice(0, 16);
  await dialog(page).getByLabel("Expires at (UTC)").fill(at);
  assert.equal(await expiryOf(page).textContent(), `This key will expire on ${inNepal(`${at}Z`)}.`);
  const request = page.waitForRequest((request) => request.method() === "POST" && isCall(request));
  await button(page, "Generate").click();
  assert.equal((await request).postDataJSON().expires_at, `${at}:00.000Z`);
  await copyKey(page);
});

test("a custom time in the past is refused as soon as it is entered", async (t) => {
  const { page, requests } = await stack.signIn(t, ADMIN);
  await openForm(page, "editor@acme.example", "past");
  await dialog(page).getByRole("radio", { name: "Custom" }).check({ force: true });
  const before = requests.length;
  await dialog(page).getByLabel("Expires at (UTC)").fill("2020-01-01T00:00");
  await dialog(page).getByText("Choose a time in the future. This one is in the past.").waitFor();
  assert.equal(await expiryOf(page).count(), 0);
  await button(page, "Generate").click();
  assert.equal(requests.length, before, "no request was sent");
});

/** Opens the form in a deployment with these limits. */
async function openFormWithin(t, limits) {
  const { page } = await stack.open(t);
  const me = await stack.acme.call("GET", "/v1/users/me");
  await answerWith(page, "getUser", 200, { ...me, limits: { ...me.limits, ...limits } });
  await stack.beginSignIn(page, ADMIN);
  await openForm(page, "editor@acme.example", "limits");
  return page;
}

test("a deployment that allows keys for a day at most offers times within it, such as 2 hours", async (t) => {
  const page = await openFormWithin(t, { min_expiry_seconds: 3600, max_expiry_seconds: DAY, default_expiry_seconds: DAY });
  for (const preset of ["7 Days", "15 Days", "30 Days"]) assert.ok(await dialog(page).getByRole("radio", { name: preset }).isDisabled(), preset);
  assert.ok(await dialog(page).getByRole("radio", { name: "Custom" }).isChecked());
  await dialog(page).getByText("This deployment allows 1 hour to 1 day.").waitFor();
  const field = dialog(page).getByLabel("Expires at (UTC)");
  const inHours = (hours) => new Date(Date.now() + hours * 3_600_000).toISOString().slice(0, 16);
  await field.fill(inHours(25));
  await dialog(page).getByText("A key can be valid for at most 1 day.").waitFor();
  await field.fill(inHours(0.5));
  await dialog(page).getByText("A key must be valid for at least 1 hour.").waitFor();
  const twoHours = inHours(2);
  await field.fill(twoHours);
  const request = page.waitForRequest((request) => request.method() === "POST" && isCall(request));
  await button(page, "Generate").click();
  assert.equal((await request).postDataJSON().expires_at, `${twoHours}:00.000Z`);
});

test("the limit on clusters is that of the deployment", async (t) => {
  const page = await openFormWithin(t, { max_clusters: 5 });
  await dialog(page).getByLabel("Role").selectOption("Editor");
  await dialog(page).getByText("1 to 5", { exact: true }).waitFor();
  await dialog(page).getByLabel("Maximum number of clusters").fill("6");
  await button(page, "Generate").click();
  await dialog(page).getByText("Must be a whole number from 1 to 5.").waitFor();
});

test("the dialog to change a key shows the limit that is signed into it", async (t) => {
  const { id } = await stack.acme.createKey("editor", { name: "signed", role: "editor", max_clusters: 5 });
  await stack.acme.call("PATCH", `/v1/users/editor/access-keys/${id}`, { max_clusters: 3 });
  const { page } = await stack.signIn(t, ADMIN);
  await choose(page, keyRow(page, "signed"), "Change");
  await dialog(page).getByText("At most 5, the limit signed into the key.").waitFor();
  await dialog(page).getByLabel("Maximum number of clusters").fill("6");
  await button(page, "Save").click();
  await dialog(page).getByText("Must be a whole number from 1 to 5.").waitFor();
  await dialog(page).getByLabel("Maximum number of clusters").fill("5");
  await button(page, "Save").click();
  await keyRow(page, "signed").getByText("0 of 5").waitFor();
});

test("a key with more clusters than the deployment now allows can be renamed", async (t) => {
  await stack.acme.createKey("editor", { name: "from-before", role: "editor", max_clusters: 5 });
  const page = await openFormWithin(t, { max_clusters: 2 });
  await button(page, "Cancel").click();
  await visit(page, "Access Keys");
  await choose(page, keyRow(page, "from-before"), "Change");
  await dialog(page).getByText("At most 2, the limit of this deployment.").waitFor();
  await dialog(page).getByLabel("Name").fill("still-with-five");
  await button(page, "Save").click();
  await keyRow(page, "still-with-five").getByText("0 of 5").waitFor();
});

test("a list that cannot be read is read again automatically after the time that the service names", async (t) => {
  const { page } = await stack.signIn(t, ADMIN, { place: "#users" });
  await userRow(page, ADMIN).waitFor();
  const restore = await stack.refuse("clusters");
  await visit(page, "Clusters");
  await page.getByText("Trying again in 1 second.").waitFor();
  await restore();
  await page.getByText("No clusters are onboarded yet.").waitFor();
});

test("the button of a dialog waits as long as the service asks for", async (t) => {
  await stack.acme.createKey("editor", { name: "waits", role: "viewer" });
  const { page, requests } = await stack.signIn(t, ADMIN);
  await choose(page, keyRow(page, "waits"), "Revoke");
  const restore = await stack.refuse("revoke");
  const isRevocation = (request) => request.method() === "DELETE";
  await button(page, "Revoke").click();
  await button(page, "Revoke (in 1 s)").press("Enter");
  assert.equal(requests.filter(isRevocation).length, 1, "the button sends nothing while it waits");
  await restore();
  await button(page, "Revoke").click();
  await keyRow(page, "waits").getByText("Revoked").waitFor();
  assert.equal(requests.filter(isRevocation).length, 2);
});

test("a page that is opened over plain HTTP says that it needs HTTPS, and where it may be", async (t) => {
  const { page, requests } = await stack.open(t);
  await page.route("http://insecure.example/**", async (route) => {
    const response = await route.fetch({ url: route.request().url().replace("http://insecure.example", stack.url) });
    // Over plain HTTP, Chromium ignores this header, and complains.
    const { "cross-origin-opener-policy": _, ...headers } = response.headers();
    await route.fulfill({ response, headers });
  });
  await page.goto("http://insecure.example/console");
  await page.getByRole("alert").filter({ hasText: "This page needs HTTPS" }).filter({ hasText: "https://insecure.example/console" }).waitFor();
  assert.equal(await button(page, "Sign in").count(), 0);
  assert.equal(requests.filter(isSignIn).length, 0);
});

async function forbidCopying(page) {
  const browser = await page.context().newCDPSession(page);
  const { targetInfo: { browserContextId } } = await browser.send("Target.getTargetInfo");
  const permission = { name: "clipboard-write", allowWithoutGesture: false };
  await browser.send("Browser.setPermission", { permission, setting: "denied", origin: stack.url, browserContextId });
}

test("where the browser does not allow copying, the key is shown and selected, and a manual copy counts", async (t) => {
  const { page } = await stack.signIn(t, ADMIN);
  await forbidCopying(page);
  await openForm(page, "editor@acme.example", "by-hand");
  await button(page, "Generate").click();
  await button(page, "Copy").click();
  await dialog(page).getByText("The browser does not allow this page to copy. The key is selected: press Ctrl+C or ⌘C.").waitFor();
  const field = dialog(page).getByLabel("Access Key", { exact: true });
  const key = await field.inputValue();
  assert.equal(await page.evaluate(() => getSelection().toString()), key);
  await page.keyboard.press("ControlOrMeta+c");
  await button(page, "Copied").waitFor();
  await button(page, "Close").click();
  await dialog(page).waitFor({ state: "detached" });
  assert.equal((await stack.validate(key)).active, true);
});

test("where the browser does not allow copying, other texts say how to copy them by hand", async (t) => {
  const { page } = await stack.signIn(t, ADMIN);
  await forbidCopying(page);
  await openForm(page, "editor@acme.example");
  await button(page, "Copy Tenant Id").click();
  await toast(page, "select the text and press Ctrl+C");
});

test("too many cookies of a parent domain are named as the cause", async (t) => {
  const { page } = await stack.signIn(t, ADMIN, { place: "#users" });
  await userRow(page, ADMIN).waitFor();
  // More than the local gateway accepts in the headers of a request.
  await page.context().addCookies(Array.from({ length: 170 }, (_, n) => ({ name: `cookie-${n}`, value: "x".repeat(4000), domain: "127.0.0.1", path: "/v1/clusters" })));
  const response = page.waitForResponse((response) => response.url().includes("/v1/clusters"));
  await visit(page, "Clusters");
  assert.equal((await response).status(), 431);
  await page.getByText("The browser sends too many cookies: delete the cookies of this site and of its parent domain, then reload the page.").waitFor();
});
