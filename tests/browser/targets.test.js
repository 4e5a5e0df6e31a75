// Row menus, suspended keys, users and keys of one name, and requests that cannot be cancelled.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { EDITOR, inAcme } from "./acme.js";
import { NARROW, hold, startStack } from "./harness.js";
import { button, choose, closed, dialog, fragment, keyRow, shortId, toast, userRow, view } from "./page.js";

const stack = await startStack();
after(() => stack.stop());
const { addKey, addUser, record, signIn } = inAcme(stack);

test("an open row menu closes when the page scrolls", async (t) => {
  for (let n = 0; n < 10; n++) await addUser(`scroll-${n}@acme.example`);
  const { page } = await signIn(t, { place: "#users", viewport: NARROW });
  await userRow(page, EDITOR).getByRole("button", { name: /^Actions for / }).click();
  await page.getByRole("menu").waitFor();
  await page.mouse.move(20, 500);
  await page.mouse.wheel(0, 300);
  await page.waitForFunction(() => scrollY > 0);
  await page.getByRole("menu").waitFor({ state: "hidden" });
  assert.equal(await page.locator(":popover-open").count(), 0);
});

test("an open row menu closes when its row moves", async (t) => {
  await addKey("admin", "moves");
  const { page } = await signIn(t, { place: "#users" });
  const release = await hold(page, "**/v1/users/admin/access-keys?*");
  await userRow(page, "admin@acme.example").getByRole("button", { name: /^Access keys of / }).click();
  const actions = userRow(page, EDITOR).getByRole("button", { name: /^Actions for / });
  const { y } = await actions.boundingBox();
  await actions.click();
  await page.getByRole("menu").waitFor();
  release();
  await keyRow(page, "moves").waitFor();
  assert.notEqual((await actions.boundingBox()).y, y);
  await page.getByRole("menu").waitFor({ state: "hidden" });
});

test("a key of a deactivated owner is shown as suspended", async (t) => {
  const owner = await addUser("gone-quiet@acme.example");
  const { id } = await addKey(owner, "of-the-deactivated");
  await stack.acme.call("PATCH", `/v1/users/${owner}`, { status: "inactive" });
  const { page } = await signIn(t);
  await keyRow(page, "of-the-deactivated").getByText("Suspended: owner deactivated", { exact: true }).waitFor();
  assert.equal(await keyRow(page, "of-the-deactivated").getByText("Active", { exact: true }).count(), 0);
  await page.goto(`${stack.url}/console#keys/${owner}/${id}`);
  await view(page, "of-the-deactivated").waitFor();
  await page.getByText("Suspended: owner deactivated", { exact: true }).waitFor();
});

test("a key of a deleted owner is shown as revoked", async (t) => {
  const owner = await addUser("gone-for-good@acme.example");
  await addKey(owner, "of-the-deleted");
  await stack.acme.call("DELETE", `/v1/users/${owner}`);
  const { page } = await signIn(t);
  await keyRow(page, "of-the-deleted").getByText("Revoked", { exact: true }).waitFor();
});

test("keys of a demoted owner show their limit, or that they no longer work", async (t) => {
  const owner = await addUser("demoted@acme.example", "editor");
  await addKey(owner, "limited", { role: "editor" });
  await addKey(owner, "excluded", { role: "cluster_onboarding" });
  await stack.acme.call("PATCH", `/v1/users/${owner}`, { role: "viewer" });
  const { page } = await signIn(t);
  await keyRow(page, "limited").getByText("Editor key, limited to Viewer", { exact: true }).waitFor();
  await keyRow(page, "excluded").getByText("Suspended: the owner's role excludes Cluster Onboarding", { exact: true }).waitFor();
});

test("a list of keys on the screen follows when its owner is demoted and deactivated in the page", async (t) => {
  const owner = await addUser("on-screen@acme.example", "editor");
  await addKey(owner, "watched", { role: "editor" });
  const { page } = await signIn(t, { place: "#users?q=on-screen" });
  const row = userRow(page, "on-screen@acme.example");
  await row.getByRole("button", { name: /^Access keys of / }).click();
  await keyRow(page, "watched").getByText("Active", { exact: true }).waitFor();
  await choose(page, row, "Change role");
  await dialog(page).getByRole("radio", { name: /^Viewer/ }).check();
  await button(page, "Save").click();
  await keyRow(page, "watched").getByText("Editor key, limited to Viewer", { exact: true }).waitFor();
  await choose(page, row, "Deactivate");
  await button(page, "Deactivate").click();
  await toast(page, "on-screen is now deactivated");
  await button(page, "Deactivated Users").click();
  await row.getByRole("button", { name: /^Access keys of / }).click();
  await keyRow(page, "watched").getByText("Suspended: owner deactivated", { exact: true }).waitFor();
});

/** Two users of one name, each with a key of one name. */
async function namesakes(suffix) {
  const [one, other] = await Promise.all(["one", "other"].map(async (which) => {
    const email = `${which}-${suffix}@acme.example`;
    const owner = await addUser(email, "viewer", `Sam Smith ${suffix}`);
    return { owner, email, key: await addKey(owner, `deploy-${suffix}`) };
  }));
  return { one, other };
}

const names = (locator) => locator.evaluateAll((buttons) => buttons.map((one) => one.getAttribute("aria-label")));

test("the row buttons of two users and two keys of one name have different names", async (t) => {
  await namesakes("rows");
  const { page } = await signIn(t, { place: "#users?q=sam" });
  for (const [place, pattern, count] of [["#users?q=sam", /^Actions for Sam Smith rows/, 2], ["#users?q=sam", /^Access keys of Sam Smith rows/, 2], ["#keys?q=deploy", /^Actions for deploy-rows/, 2]]) {
    await page.goto(`${stack.url}/console${place}`);
    const buttons = page.getByRole("button", { name: pattern });
    await buttons.first().waitFor();
    const all = await names(buttons);
    assert.equal(new Set(all).size, count, all.join("; "));
  }
});

for (const item of ["Change role", "Revoke all keys", "Deactivate", "Delete"]) {
  test(`the dialog ${item} says which of two users of one name it is about`, async (t) => {
    const { one, other } = await namesakes(item.split(" ")[0].toLowerCase());
    const { page } = await signIn(t, { place: `#users?q=${one.email}` });
    await choose(page, userRow(page, one.email), item);
    await dialog(page).getByText(one.email, { exact: true }).waitFor();
    const facts = await dialog(page).locator(".which").innerText();
    assert.ok(facts.includes(one.owner) && /Created\s+\w+ \d+, \d{4}/.test(facts), facts);
    assert.ok(!facts.includes(other.email), facts);
  });
}

for (const item of ["Rotate", "Change", "Revoke"]) {
  test(`the dialog ${item} says which of two keys of one name it is about`, async (t) => {
    const { one, other } = await namesakes(`key-${item.toLowerCase()}`);
    const { page } = await signIn(t, { place: `#keys?owner=${one.owner}` });
    await button(page, `Actions for ${one.key.name} (${shortId(one.key)}) of ${one.email}`).click();
    await page.getByRole("menuitem", { name: item, exact: true }).click();
    const facts = await dialog(page).locator(".which").innerText();
    for (const fact of [one.key.name, one.email, shortId(one.key)]) assert.ok(facts.includes(fact), `${fact} in ${facts}`);
    assert.match(facts, /Created\s+\w+ \d+, \d{4}/);
    assert.ok(!facts.includes(shortId(other.key)) && !facts.includes(other.email), facts);
  });
}

test("revoking one of two keys of one name revokes that one", async (t) => {
  const { one, other } = await namesakes("revoked");
  const { page } = await signIn(t, { place: "#keys?q=deploy-revoked" });
  await button(page, `Actions for ${one.key.name} (${shortId(one.key)}) of ${one.email}`).click();
  await page.getByRole("menuitem", { name: "Revoke", exact: true }).click();
  await button(page, "Revoke").click();
  await toast(page, "The key deploy-revoked is revoked");
  assert.deepEqual([(await record(one.owner, one.key.id)).status, (await record(other.owner, other.key.id)).status], ["revoked", "active"]);
  const row = page.getByRole("row").filter({ hasText: shortId(one.key) });
  await row.getByText("Revoked", { exact: true }).waitFor();
  await page.getByRole("row").filter({ hasText: shortId(other.key) }).getByText("Active", { exact: true }).waitFor();
});

/** Requests that cannot be cancelled: the row, the item of its menu, the button, its text meanwhile, and the result. */
const ACTIONS = [
  { item: "Revoke", busy: "Revoking…", place: "#keys?q=slow-revoke", url: "**/access-keys/*", row: (page) => keyRow(page, "slow-revoke"), done: "The key slow-revoke is revoked" },
  { item: "Revoke all keys", submit: "Revoke all", busy: "Revoking…", url: "**/access-keys", done: "All keys of slow-revoke-all are revoked" },
  { item: "Deactivate", busy: "Deactivating…", done: "slow-deactivate is now deactivated" },
  { item: "Change role", submit: "Save", busy: "Saving…", done: "slow-change is now Editor", fill: (page) => dialog(page).getByRole("radio", { name: /^Editor/ }).check() },
  { item: "Delete", busy: "Deleting…", done: "slow-delete is deleted" },
];

for (const { item, submit = item, busy, place, url, row, done, fill } of ACTIONS) {
  test(`${item} stays on the screen until it is answered, whatever the user presses`, async (t) => {
    const name = { Revoke: "slow-revoke", "Revoke all keys": "slow-revoke-all", Deactivate: "slow-deactivate", "Change role": "slow-change", Delete: "slow-delete" }[item];
    const email = `${name}@acme.example`;
    const owner = await addUser(email);
    await addKey(owner, name);
    const { page } = await signIn(t);
    await view(page, "Access Keys").waitFor();
    await page.goto(`${stack.url}/console${place ?? `#users?q=${name}`}`);
    const here = fragment(page);
    await choose(page, row?.(page) ?? userRow(page, email), item);
    await fill?.(page);
    const release = await hold(page, url ?? `**/v1/users/${owner}`);
    await button(page, submit).click();
    await button(page, busy).waitFor();
    const leave = [() => page.keyboard.press("Escape"), () => button(page, "Cancel").click({ force: true }), () => button(page, "Close dialog").click(), () => page.goBack()];
    for (const press of leave) {
      await press();
      await toast(page, "Wait for the response.");
      assert.equal(await button(page, busy).count(), 1, press);
    }
    assert.equal(fragment(page), here);
    release();
    await toast(page, done);
    await closed(page);
  });
}
