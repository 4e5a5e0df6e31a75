// Requests whose answer is lost: the page says what may have happened, and no key remains that nobody has.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { PREVIOUS, inAcme } from "./acme.js";
import { hold, startStack } from "./harness.js";
import { button, choose, closed, copyKey, dialog, hasFocus, keyRow, loseAnswer, shortId, signInAgain, toast, view, visit } from "./page.js";

const stack = await startStack();
after(() => stack.stop());
const { WAYS, addKey, betweenPlaces, newKey, record, signIn } = inAcme(stack);

/** The next request to create a key does not arrive. */
const loseRequest = (page) => page.route("**/v1/users/*/access-keys", (route) => route.abort(), { times: 1 });

/** Opens Access Keys, and sends the form with the name to a service that loses the answer. */
async function lose(t, name, how = loseAnswer) {
  const opened = await signIn(t, { place: "#users" });
  await view(opened.page, PREVIOUS).waitFor();
  await visit(opened.page, "Access Keys");
  await how(opened.page);
  await WAYS.Generate.open(opened.page, name);
  await button(opened.page, "Generate").click();
  await dialog(opened.page).getByText("may exist, but nobody has it").waitFor();
  return opened;
}

const keysOf = async (owner) => (await stack.acme.call("GET", `/v1/users/${owner}/access-keys`)).items;
const theKeys = async (name) => (await keysOf("admin")).filter((key) => key.name === name);

test("when the answer to Generate is lost, the list is loaded again and shows the key", async (t) => {
  const { page } = await lose(t, "lost-listed");
  await keyRow(page, "lost-listed").getByText("Active", { exact: true }).waitFor();
});

test("when the answer to Generate is lost, Generate again gives that key and creates no second one", async (t) => {
  const { page } = await lose(t, "lost-again");
  await button(page, "Generate").click();
  const { active, jti } = await stack.validate(await copyKey(page));
  assert.equal(active, true);
  assert.deepEqual((await theKeys("lost-again")).map(({ id }) => id), [jti]);
});

test("when the answer to Generate is lost, the key can be found and revoked", async (t) => {
  const { page } = await lose(t, "lost-revoked");
  const [key] = await theKeys("lost-revoked");
  await button(page, "Check whether it exists").click();
  await dialog(page).getByText(`…${shortId(key)}`, { exact: true }).waitFor();
  await button(page, "Revoke it").click();
  await toast(page, "The key lost-revoked is revoked");
  assert.equal((await record("admin", key.id)).status, "revoked");
  await hasFocus(page, "Generate");
  await page.keyboard.press("Escape");
  await closed(page);
  await keyRow(page, "lost-revoked").getByText("Revoked", { exact: true }).waitFor();
});

test("after a lost key is revoked, Generate with the same values creates another key", async (t) => {
  const { page } = await lose(t, "lost-replaced");
  await button(page, "Check whether it exists").click();
  await button(page, "Revoke it").click();
  await toast(page, "The key lost-replaced is revoked");
  await button(page, "Generate").click();
  assert.equal((await stack.validate(await copyKey(page))).active, true);
  assert.deepEqual((await theKeys("lost-replaced")).map(({ status }) => status).sort(), ["active", "revoked"]);
});

test("of several keys that may be the lost one, only the chosen one is revoked", async (t) => {
  const { id } = await addKey("admin", "lost-or-not");
  const { page } = await lose(t, "lost-or-not");
  await button(page, "Check whether it exists").click();
  await button(page, "Revoke it").first().waitFor();
  assert.equal(await button(page, "Revoke it").count(), 2);
  await dialog(page).locator(".which", { hasText: shortId({ id }) }).locator("xpath=following::button[1]").click();
  await toast(page, "The key lost-or-not is revoked");
  for (const key of await theKeys("lost-or-not")) assert.equal(key.status, key.id === id ? "revoked" : "active");
});

test("the search for a lost key and its revocation cannot be left while they run", async (t) => {
  const { page } = await lose(t, "lost-slowly");
  await button(page, "Check whether it exists").click();
  await button(page, "Revoke it").waitFor();
  const release = await hold(page, "**/access-keys/*?reason=*");
  await button(page, "Revoke it").click();
  for (const leave of [() => page.keyboard.press("Escape"), () => button(page, "Cancel").click(), () => page.goBack()]) {
    await leave();
    await toast(page, "Wait for the response.");
    assert.equal(await button(page, "Revoke it").count(), 1);
  }
  release();
  await toast(page, "The key lost-slowly is revoked");
});

test("when the request of Generate never arrived, the page finds no key and lets the user continue", async (t) => {
  const { page } = await lose(t, "never-arrived", loseRequest);
  await button(page, "Check whether it exists").click();
  await dialog(page).getByText("No such key exists.", { exact: true }).waitFor();
  await button(page, "Continue").click();
  assert.equal(await dialog(page).getByText("may exist, but nobody has it").count(), 0);
  await button(page, "Cancel").click();
  await closed(page);
  assert.equal((await theKeys("never-arrived")).length, 0);
});

test("when the request of Generate never arrived, Generate again creates the key", async (t) => {
  const { page } = await lose(t, "arrives-late", loseRequest);
  await button(page, "Generate").click();
  assert.equal((await stack.validate(await copyKey(page))).active, true);
  assert.equal((await theKeys("arrives-late")).length, 1);
});

for (const [how, leave] of Object.entries({ Cancel: (page) => button(page, "Cancel").click(), Escape: (page) => page.keyboard.press("Escape"), "the X": (page) => button(page, "Close dialog").click(), Back: (page) => page.goBack() })) {
  test(`when the answer to Generate is lost, ${how} warns that a key may exist`, async (t) => {
    const { page } = await lose(t, `lost-${how}`);
    await leave(page);
    const warning = dialog(page).getByText(`A key named “lost-${how}” may exist, and nobody has it.`);
    await warning.waitFor();
    await hasFocus(page, "Back");
    await button(page, "Back").click();
    await button(page, "Check whether it exists").click();
    await button(page, "Revoke it").waitFor();
    await leave(page);
    await warning.waitFor();
    await button(page, "Close").click();
    await closed(page);
  });
}

test("an earlier key of the same name is not offered for the one whose answer was lost", async (t) => {
  const { page } = await signIn(t);
  await newKey(page, "Generate", "same-name");
  const { jti } = await stack.validate(await copyKey(page));
  await button(page, "Close").click();
  // A validation counts as use, so the key cannot be the lost one. The first key of this page is not used.
  await newKey(page, "Generate", "same-name-unused");
  await copyKey(page);
  await button(page, "Close").click();
  for (const [name, lost] of [["same-name", loseRequest], ["same-name-unused", loseRequest]]) {
    await lost(page);
    await WAYS.Generate.open(page, name);
    await button(page, "Generate").click();
    await button(page, "Check whether it exists").click();
    await dialog(page).getByText("No such key exists.", { exact: true }).waitFor();
    await button(page, "Continue").click();
    await button(page, "Cancel").click();
    await closed(page);
  }
  assert.equal((await record("admin", jti)).status, "active");
});

test("after a lost answer, other values are not sent before the user knows about the first key", async (t) => {
  const { page } = await lose(t, "first-values");
  await dialog(page).getByLabel("Name").fill("second-values");
  await button(page, "Generate").click();
  await dialog(page).getByText("A key named “first-values” may exist, and nobody has it.").waitFor();
  assert.equal((await theKeys("second-values")).length, 0);
  await button(page, "Back").click();
  await button(page, "Check whether it exists").click();
  await button(page, "Revoke it").click();
  await toast(page, "The key first-values is revoked");
  await button(page, "Generate").click();
  assert.equal((await stack.validate(await copyKey(page))).active, true);
});

/** Sends the form of a rotation to a service that rotates the key and loses the answer. */
async function loseRotation(page, name) {
  await choose(page, keyRow(page, name), "Rotate");
  await page.route("**/rotate", async (route) => {
    assert.equal((await route.fetch()).status(), 200);
    await route.abort();
  }, { times: 1 });
  await button(page, "Rotate").click();
  await dialog(page).getByText("Rotate again with the same values to get it").waitFor();
}

test("when the answer to Rotate is lost, Rotate again with the same values gives the new secret", async (t) => {
  const { id } = await addKey("admin", "lost-rotation");
  const { page } = await signIn(t);
  await loseRotation(page, "lost-rotation");
  await button(page, "Rotate").click();
  assert.equal((await stack.validate(await copyKey(page))).active, true);
  assert.equal((await record("admin", id)).generation, 1);
});

test("a lost rotation cannot be left by mistake, and survives a new sign-in", async (t) => {
  const { id } = await addKey("admin", "lost-twice");
  const { page } = await betweenPlaces(t);
  await loseRotation(page, "lost-twice");
  for (const leave of [() => page.keyboard.press("Escape"), () => button(page, "Cancel").click(), () => page.goBack()]) {
    await leave();
    await dialog(page).getByText("nobody has its new secret. If you close").waitFor();
    await button(page, "Back").click();
  }
  await signInAgain(page, "Rotate");
  await button(page, "Rotate").click();
  assert.equal((await stack.validate(await copyKey(page))).active, true);
  assert.equal((await record("admin", id)).generation, 1, "the idempotency key came back with the form");
});

test("when the answer to Revoke is lost, the page says so and the list shows what happened", async (t) => {
  await addKey("admin", "lost-revocation");
  const { page } = await signIn(t);
  await choose(page, keyRow(page, "lost-revocation"), "Revoke");
  await page.route("**/access-keys/*", async (route) => {
    assert.equal((await route.fetch()).status(), 204);
    await route.abort();
  }, { times: 1 });
  await button(page, "Revoke").click();
  await dialog(page).getByText("The request may still have taken effect.").waitFor();
  await keyRow(page, "lost-revocation").getByText("Revoked", { exact: true }).waitFor();
});

test("an answer to Generate that is not from the service counts as lost", async (t) => {
  await lose(t, "behind-a-portal", (page) => page.route("**/access-keys", async (route) => {
    await route.fetch();
    await route.fulfill({ status: 200, contentType: "text/html", body: "<h1>Accept the terms of this network</h1>" });
  }, { times: 1 }));
});
