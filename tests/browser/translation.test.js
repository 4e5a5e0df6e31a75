// Pages that a browser translates: what they show stays true.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { EDITOR, inAcme } from "./acme.js";
import { startStack } from "./harness.js";
import { NOT_COPIED, button, choose, closed, copyKey, dialog, keyRow, loseAnswer, openForm, toast, userRow, view } from "./page.js";

const stack = await startStack();
after(() => stack.stop());
const { WAYS, addKey, addUser, signIn } = inAcme(stack);

/**
 * Translates the page as browsers do, and everything that is added later: each text is wrapped in <font> elements. Some
 * translators move the text node, others leave it out of the document and insert a new one.
 */
const translate = (page, how) => page.evaluate((how) => {
  const isOwn = (text) => !text.data.trim() || text.parentElement?.closest("font, [translate=no], option, script, style, title");
  const wrap = (root) => {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    const texts = root instanceof Text ? [root] : [];
    while (walker.nextNode()) texts.push(walker.currentNode);
    for (const text of texts.filter((text) => text.isConnected && !isOwn(text))) {
      const [outer, inner] = [document.createElement("font"), document.createElement("font")];
      outer.append(inner);
      text.replaceWith(outer);
      inner.append(how === "moves" ? text : text.data);
    }
  };
  wrap(document.body);
  new MutationObserver((changes) => changes.forEach(({ addedNodes }) => addedNodes.forEach(wrap))).observe(document.body, { childList: true, subtree: true });
}, how);

async function translated(t, how, place) {
  const { page } = await signIn(t, { place });
  await page.getByRole("table").first().waitFor();
  await translate(page, how);
  return page;
}

for (const how of ["moves", "replaces"]) {
  test(`in a page whose translator ${how} texts, the forms say what the choices mean`, async (t) => {
    const name = `translated-form-${how}`;
    await addKey("editor", name, { role: "editor" });
    const page = await translated(t, how, `#keys?q=${name}`);
    const text = () => dialog(page).innerText();
    const ends = async () => (await dialog(page).locator("fieldset .hint time").getAttribute("datetime")).slice(0, 10);
    const day = (days) => new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10);
    await button(page, "Create key").click();
    assert.match(await text(), /This role cannot onboard clusters/);
    await dialog(page).getByLabel("Role").selectOption("Editor");
    await dialog(page).getByText("1 to 100", { exact: true }).waitFor();
    assert.doesNotMatch(await text(), /This role cannot|can read findings and clusters\./);
    await dialog(page).getByRole("radio", { name: "7 Days" }).check();
    await dialog(page).locator(`time[datetime^="${day(7)}"]`).waitFor();
    assert.equal(await ends(), day(7));
    assert.match(await text(), /This key will expire on\s+\w+, \w+ \d+ \d{4}, [\d:]+ UTC/);
    await button(page, "Cancel").click();
    await choose(page, keyRow(page, name), "Rotate");
    await dialog(page).getByLabel("Overlap").selectOption("0");
    await dialog(page).getByText("Everything that uses the old secret stops working immediately.").waitFor();
    assert.doesNotMatch(await text(), /The old secret stops working on/);
    await dialog(page).getByLabel("Overlap").selectOption("604800");
    await dialog(page).getByText("The old secret stops working on").waitFor();
    assert.doesNotMatch(await text(), /Everything that uses the old secret/);
    await button(page, "Cancel").click();
    await choose(page, keyRow(page, name), "Change");
    await dialog(page).getByLabel("Expires at (UTC)").fill(`${day(3)}T12:00`);
    await dialog(page).getByText("All secrets of the key stop working on").waitFor();
    assert.doesNotMatch(await text(), /The expiry can only become earlier/);
  });

  test(`in a page whose translator ${how} texts, paging and searching show the right rows`, async (t) => {
    for (let n = 0; n < 23; n++) await addKey("viewer", `${how}-${String(n).padStart(2, "0")}`);
    const page = await translated(t, how, "#keys?owner=viewer");
    const shown = () => page.getByRole("table").locator("a.name").allInnerTexts();
    await page.getByText("1–20 of", { exact: false }).waitFor();
    await button(page, "Next").click();
    await page.getByText("21–", { exact: false }).waitFor();
    assert.equal(await page.getByText("1–20 of", { exact: false }).count(), 0);
    const second = await shown();
    await button(page, "Previous").click();
    await page.getByText("1–20 of", { exact: false }).waitFor();
    const first = await shown();
    assert.equal(first.length, 20);
    assert.ok(second.length > 0 && second.every((name) => !first.includes(name)));
    await page.getByLabel("Search keys").fill(`${how}-07`);
    await page.waitForFunction(() => document.querySelectorAll("table a.name").length === 1);
    assert.deepEqual(await shown(), [`${how}-07`]);
    await page.getByLabel("Search keys").fill("nothing-at-all");
    await page.getByText("No key matches.", { exact: true }).waitFor();
    assert.equal(await page.getByRole("table").count(), 0);
  });
}

test("in a page whose translator replaces texts, a revoked key is shown as revoked", async (t) => {
  const name = "translated-revoke";
  await addKey("admin", name);
  const page = await translated(t, "replaces", `#keys?q=${name}`);
  await choose(page, keyRow(page, name), "Revoke");
  await button(page, "Revoke").click();
  await toast(page, `The key ${name} is revoked`);
  await keyRow(page, name).getByText("Revoked", { exact: true }).waitFor();
  assert.equal(await keyRow(page, name).getByText("Active", { exact: true }).count(), 0);
});

test("in a page whose translator replaces texts, the page of a key follows Rotate, Change and Revoke", async (t) => {
  const { id } = await addKey("editor", "translated", { role: "editor", max_clusters: 5 });
  const page = await translated(t, "replaces", `#keys/editor/${id}`);
  const facts = page.locator("dl.record");
  const act = (label) => page.getByRole("button", { name: new RegExp(`^${label} `) }).click();
  await act("Rotate");
  await button(page, "Rotate").click();
  const key = await copyKey(page);
  await dialog(page).getByText("Copied", { exact: true }).waitFor();
  assert.equal((await stack.validate(key)).active, true);
  await button(page, "Close").click();
  await facts.getByText("1 rotation", { exact: true }).waitFor();
  assert.doesNotMatch(await facts.innerText(), /Rotated\s+Never/);
  await act("Change");
  await dialog(page).getByLabel("Name").fill("renamed");
  await dialog(page).getByLabel("Labels").fill("new-label");
  await dialog(page).getByLabel("Maximum number of clusters").fill("2");
  await button(page, "Save").click();
  await closed(page);
  await view(page, "renamed").waitFor();
  const text = await facts.innerText();
  assert.ok(text.includes("0 of 2") && !text.includes("0 of 5"), text);
  assert.ok(text.includes("new-label") && !text.includes("–\n"), text);
  await act("Revoke");
  await dialog(page).getByLabel("Reason").fill("translated too");
  await button(page, "Revoke").click();
  await closed(page);
  await page.locator(".title").getByText("Revoked", { exact: true }).waitFor();
  assert.equal(await page.getByText("Active", { exact: true }).count(), 0);
  await facts.getByText("by you: translated too").waitFor();
});

test("in a page whose translator replaces texts, a list shows the new name and limit of a key", async (t) => {
  const name = "translated-list";
  await addKey("editor", name, { role: "editor", max_clusters: 5 });
  const page = await translated(t, "replaces", `#keys?q=${name}`);
  await choose(page, keyRow(page, name), "Change");
  await dialog(page).getByLabel("Name").fill(`new-${name}`);
  await dialog(page).getByLabel("Maximum number of clusters").fill("2");
  await button(page, "Save").click();
  await closed(page);
  await keyRow(page, `new-${name}`).waitFor();
  const text = await keyRow(page, `new-${name}`).innerText();
  assert.ok(text.includes(`new-${name}`) && text.includes("0 of 2") && !text.includes("0 of 5"), text);
});

test("in a page whose translator replaces texts, the result shows the new key and then that it is copied", async (t) => {
  const page = await translated(t, "replaces", "#users");
  await openForm(page, EDITOR, "translated-create");
  await button(page, "Generate").click();
  await button(page, "Close").click();
  await dialog(page).getByText(NOT_COPIED).waitFor();
  await button(page, "Back to the key").click();
  await copyKey(page);
  assert.deepEqual(await dialog(page).locator("footer").getByRole("button").allInnerTexts(), ["Close", "Copied"]);
});

test("in a page whose translator replaces texts, a lost answer and its end are shown", async (t) => {
  const name = "translated-lost";
  const page = await translated(t, "replaces", "#keys");
  await loseAnswer(page);
  await WAYS.Generate.open(page, name);
  await button(page, "Generate").click();
  await button(page, "Check whether it exists").click();
  await button(page, "Revoke it").click();
  await toast(page, `The key ${name} is revoked`);
  assert.equal(await dialog(page).getByText("may exist, but nobody has it").count(), 0);
  await button(page, "Generate").waitFor();
  await button(page, "Cancel").click();
  await keyRow(page, name).getByText("Revoked", { exact: true }).waitFor();
});

test("in a page whose translator replaces texts, a user's new role and status are shown", async (t) => {
  const email = "translated@acme.example";
  const owner = await addUser(email);
  await addKey(owner, "of-translated");
  const page = await translated(t, "replaces", "#users?q=translated");
  const row = userRow(page, email);
  await row.getByRole("button", { name: /^Access keys of / }).click();
  await keyRow(page, "of-translated").waitFor();
  await choose(page, row, "Change role");
  await dialog(page).getByRole("radio", { name: /^Editor/ }).check();
  await button(page, "Save").click();
  await row.getByText("Editor", { exact: true }).waitFor();
  assert.equal(await row.getByText("Viewer", { exact: true }).count(), 0);
  await choose(page, row, "Deactivate");
  await button(page, "Deactivate").click();
  await toast(page, "is now deactivated");
  await page.getByText("No user matches", { exact: false }).waitFor();
  await button(page, "Deactivated Users").click();
  await row.getByText("Deactivated", { exact: true }).waitFor();
});
