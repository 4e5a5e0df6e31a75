// When the session ends, a new sign-in brings back what the user entered, and no key is lost or stored.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { EDITOR, inAcme } from "./acme.js";
import { damageToken, startStack } from "./harness.js";
import { NOT_COPIED, button, choose, copyKey, dialog, fragment, isGone, kept, keyRow, loseAnswer, shortId, signInAgain, toast, view } from "./page.js";

const stack = await startStack();
after(() => stack.stop());
const { WAYS, addKey, addUser, record, signIn } = inAcme(stack);

const stored = (page) => page.evaluate(() => ({ ...sessionStorage, ...localStorage }));

test("signing in again from Create Access Key brings back the fields, and nothing stays behind", async (t) => {
  await addUser("picked@acme.example", "editor");
  const { page } = await signIn(t, { place: "#keys?status=active" });
  await button(page, "Create key").click();
  const form = dialog(page);
  await form.getByRole("combobox").first().fill("picked");
  await page.getByRole("option", { name: /picked@acme/ }).click();
  await form.getByLabel("Name").fill("kept-fields");
  await form.getByRole("radio", { name: "15 Days" }).check();
  await form.getByLabel("Role").selectOption("Editor");
  await form.getByLabel("Maximum number of clusters").fill("3");
  await form.getByText("More options").click();
  await form.getByLabel("Labels").fill("one, two");
  await form.getByRole("checkbox").check();
  await signInAgain(page, "Generate");
  assert.equal(fragment(page), "#keys?status=active");
  assert.deepEqual(await stored(page), {});
  assert.match(await form.getByRole("combobox").first().inputValue(), /picked@acme\.example/);
  assert.equal(await form.getByLabel("Name").inputValue(), "kept-fields");
  assert.ok(await form.getByRole("radio", { name: "15 Days" }).isChecked());
  assert.equal(await form.getByLabel("Role").inputValue(), "editor");
  assert.equal(await form.getByLabel("Maximum number of clusters").inputValue(), "3");
  assert.equal(await form.getByLabel("Labels").inputValue(), "one, two");
  assert.ok(await form.getByRole("checkbox").isChecked());
  await button(page, "Generate").click();
  const { sub, jti } = await stack.validate(await copyKey(page));
  assert.equal(sub, "picked");
  const { labels, max_clusters, self_rotate } = await record(sub, jti);
  assert.deepEqual({ labels, max_clusters, self_rotate }, { labels: ["one", "two"], max_clusters: 3, self_rotate: true });
});

test("if a new sign-in cannot begin, the page still asks before what was entered is lost", async (t) => {
  const { page } = await signIn(t);
  await loseAnswer(page);
  await button(page, "Create key").click();
  await dialog(page).getByLabel("Name").fill("not-left-behind");
  await button(page, "Generate").click();
  await dialog(page).getByText("may exist, but nobody has it").waitFor();
  await damageToken(page);
  await button(page, "Generate").click();
  await page.route("**/.well-known/openid-configuration", (route) => route.abort());
  await dialog(page).getByRole("button", { name: "Sign in again" }).click();
  await toast(page, "The identity provider cannot be reached.");
  const question = page.waitForEvent("dialog");
  await page.reload();
  assert.equal((await question).type(), "beforeunload");
});

test("signing in again from Rotate brings back the fields", async (t) => {
  const { id } = await addKey("editor", "rotate-again", { role: "editor", max_clusters: 4 });
  const { page } = await signIn(t, { place: "#keys?q=rotate-again" });
  await choose(page, keyRow(page, "rotate-again"), "Rotate");
  const form = dialog(page);
  await form.getByRole("radio", { name: "7 Days" }).check();
  await form.getByLabel("Overlap").selectOption("1 hour");
  await form.getByLabel("Role").selectOption("Cluster Onboarding");
  await form.getByLabel("Maximum number of clusters").fill("2");
  await form.getByRole("checkbox").check();
  await signInAgain(page, "Rotate");
  await form.getByRole("heading", { name: "Rotate rotate-again" }).waitFor();
  assert.ok(await form.getByRole("radio", { name: "7 Days" }).isChecked());
  assert.equal(await form.getByLabel("Overlap").inputValue(), "3600");
  assert.equal(await form.getByLabel("Role").inputValue(), "cluster_onboarding");
  assert.equal(await form.getByLabel("Maximum number of clusters").inputValue(), "2");
  assert.ok(await form.getByRole("checkbox").isChecked());
  await button(page, "Rotate").click();
  await copyKey(page);
  const { role, max_clusters, self_rotate } = await record("editor", id);
  assert.deepEqual({ role, max_clusters, self_rotate }, { role: "cluster_onboarding", max_clusters: 2, self_rotate: true });
});

test("signing in again from Change brings back the fields", async (t) => {
  const { id } = await addKey("editor", "change-again", { role: "editor", max_clusters: 4 });
  const { page } = await signIn(t, { place: "#keys?q=change-again" });
  await choose(page, keyRow(page, "change-again"), "Change");
  const form = dialog(page);
  const sooner = new Date(Date.now() + 3 * 86_400_000).toISOString().slice(0, 16);
  const values = { Name: "changed-again", Labels: "three", "Expires at (UTC)": sooner, "Maximum number of clusters": "2" };
  for (const [label, value] of Object.entries(values)) await form.getByLabel(label).fill(value);
  await signInAgain(page, "Save");
  for (const [label, value] of Object.entries(values)) assert.equal(await form.getByLabel(label).inputValue(), value, label);
  await button(page, "Save").click();
  await toast(page, "The key changed-again is changed");
  const { name, labels, max_clusters, expires_at } = await record("editor", id);
  assert.deepEqual({ name, labels, max_clusters, expires_at }, { name: "changed-again", labels: ["three"], max_clusters: 2, expires_at: `${sooner}:00Z` });
});

test("signing in again from Revoke brings back the reason", async (t) => {
  const { id } = await addKey("editor", "revoke-again");
  const { page } = await signIn(t, { place: "#keys?q=revoke-again" });
  await choose(page, keyRow(page, "revoke-again"), "Revoke");
  await dialog(page).getByLabel("Reason").fill("leaked in a log");
  await signInAgain(page, "Revoke");
  await dialog(page).getByText(`…${shortId({ id })}`, { exact: true }).waitFor();
  assert.equal(await dialog(page).getByLabel("Reason").inputValue(), "leaked in a log");
  await button(page, "Revoke").click();
  await toast(page, "The key revoke-again is revoked");
  assert.equal((await record("editor", id)).revoked_reason, "leaked in a log");
});

test("the values that one user entered are not shown to another who signs in, and are then gone for both", async (t) => {
  const { page } = await signIn(t);
  await WAYS.Generate.open(page, "private-draft");
  await damageToken(page);
  await button(page, "Generate").click();
  const again = dialog(page).getByRole("button", { name: "Sign in again" });
  await again.waitFor();
  await page.unroute("**/v1/**");
  await page.context().clearCookies();
  await again.click();
  await page.getByRole("link", { name: EDITOR }).click();
  await view(page, "My access keys").waitFor();
  assert.equal(await dialog(page).count(), 0);
  assert.ok(!(await kept(page)).includes("private-draft"));
  await page.context().clearCookies();
  await stack.beginSignIn(page, "admin@acme.example");
  await view(page, "Access Keys").waitFor();
  assert.equal(await dialog(page).count(), 0);
});

test("the fields are restored once: a later reload does not open the form again", async (t) => {
  const { page } = await signIn(t);
  await WAYS.Generate.open(page, "used-once");
  await signInAgain(page, "Generate");
  await page.reload();
  await view(page, "Access Keys").waitFor();
  assert.equal(await dialog(page).count(), 0);
  await button(page, "Create key").click();
  assert.equal(await dialog(page).getByLabel("Name").inputValue(), "");
});

/** Filters the keys behind the open dialog. The service refuses the token when the returned callback is called. */
async function endSessionLater(page) {
  let end;
  const ended = new Promise((resolve) => (end = resolve));
  await page.route("**/v1/access-keys?*", async (route) => {
    await ended;
    await route.continue({ headers: { ...route.request().headers(), authorization: "Bearer expired" } });
  }, { times: 1 });
  const asked = page.waitForRequest((request) => request.url().includes("q=anything"));
  await page.goto(`${stack.url}/console#keys?q=anything`);
  await asked;
  return end;
}

/** Signs in again. Returns what the browser's storage carries across the redirects. */
async function carriedBySignIn(page) {
  await page.addInitScript(() => (window.carried = { ...sessionStorage, ...localStorage }));
  await dialog(page).getByRole("button", { name: "Sign in again" }).click();
  await page.waitForFunction(() => window.carried && document.querySelector("nav[aria-label=Views]"));
  return page.evaluate(() => window.carried);
}

for (const way of ["Generate", "Rotate"]) {
  test(`when the session ends while the result of ${way} is shown, the key is neither lost nor stored`, async (t) => {
    const { page, requests } = await signIn(t, { place: "#keys" });
    await WAYS[way].open(page, `ended-${way}`);
    const end = await endSessionLater(page);
    await button(page, way).click();
    await button(page, "Copy").waitFor();
    end();
    await dialog(page).getByRole("button", { name: "Sign in again" }).click();
    await dialog(page).getByText(NOT_COPIED).waitFor();
    await button(page, "Back to the key").click();
    await button(page, "Show the key").click();
    const key = await copyKey(page);
    const from = requests.length;
    const carried = await carriedBySignIn(page);
    assert.deepEqual(Object.keys(carried), ["access-keys.sign-in"]);
    assert.ok(!JSON.stringify(carried).includes(key));
    await view(page, "Access Keys").waitFor();
    assert.equal(await dialog(page).count(), 0);
    await isGone(page, requests, from, key);
  });
}

test("when the session ends while a found key is in its dialog, the key is not stored", async (t) => {
  const { access_key } = await addKey("editor", "found-at-the-end");
  const { page, requests } = await signIn(t, { place: "#keys" });
  await button(page, "Found a key?").click();
  await dialog(page).getByLabel("Access key").fill(access_key);
  (await endSessionLater(page))();
  const from = requests.length;
  assert.ok(!JSON.stringify(await carriedBySignIn(page)).includes(access_key));
  await view(page, "Access Keys").waitFor();
  await isGone(page, requests, from, access_key);
});
