// Helpers with which the tests use and read the page.

import assert from "node:assert/strict";
import { damageToken } from "./harness.js";

export const KEY = /eyJ0eXAiOiJhY2Nlc3Mta2V5K2p3dCIsImFsZyI6I[\w-]+\.[\w-]+\.[\w-]+/;
export const NOT_COPIED = "You have not copied the key.";

export const button = (page, name) => page.getByRole("button", { name, exact: true });
export const dialog = (page) => page.getByRole("dialog");
export const closed = (page) => dialog(page).waitFor({ state: "detached" });
export const view = (page, name) => page.getByRole("heading", { level: 1, name, exact: true });
export const fragment = (page) => new URL(page.url()).hash;
/** The row of the table `Users` with this e-mail address. */
export const userRow = (page, email) => page.getByRole("table", { name: "Users" }).getByRole("row").filter({ has: page.getByRole("button", { name: new RegExp(`^Access keys of .*${email}$`) }) });
/** The row of the key with this name, in any table of keys. */
export const keyRow = (page, name) => page.locator("td.heading", { has: page.getByRole("link", { name, exact: true }) }).locator("xpath=..");
/** A suggestion of the field for a person. */
export const person = (page, name) => page.getByRole("listbox", { name: "People" }).getByRole("option", { name });
export const clusterRow = (page, name) => page.getByRole("row").filter({ has: button(page, `Nodes of ${name}`) });
export const toast = (page, text) => page.locator(".toast", { hasText: text }).last().waitFor();
/** Waits until the element with this label or text has the focus. The page moves the focus only after it has rendered. */
export const hasFocus = (page, text) => page.waitForFunction((text) => (document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent) === text, text);
/** How the page shortens the id of a key. */
export const shortId = ({ id }) => id.slice(-8);

/** Whether all corners of an element are in the window, and nothing covers its middle. */
export const isInView = (locator) => locator.evaluate((element) => {
  const { left, right, top, bottom } = element.getBoundingClientRect();
  const isInside = left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight;
  return isInside && element.contains(document.elementFromPoint((left + right) / 2, (top + bottom) / 2));
});

/** Goes to a view by its link. */
export async function visit(page, view) {
  await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: view, exact: true }).click();
  await page.getByRole("heading", { level: 1, name: view }).waitFor();
}

/** Chooses an item of the menu in a row. */
export async function choose(page, row, item) {
  await row.getByRole("button", { name: /^Actions for / }).click();
  await page.getByRole("menuitem", { name: item, exact: true }).click();
}

/** Opens the form of the guide: User Management, the menu of the user's row, Get Access Key. */
export async function openForm(page, email, name = "") {
  if (!(await page.getByRole("heading", { level: 1, name: "User Management" }).count())) await visit(page, "User Management");
  await choose(page, userRow(page, email), "Get Access Key");
  await dialog(page).getByLabel("Name").fill(name);
}

/** Copies the key that the dialog shows. Returns the content of the clipboard. */
export async function copyKey(page) {
  await button(page, "Copy").click();
  await toast(page, "Token copied to clipboard");
  return page.evaluate(() => navigator.clipboard.readText());
}

/** Creates a key in the page and copies it. */
export async function generate(page, email, name, role) {
  await openForm(page, email, name);
  if (role) await dialog(page).getByLabel("Role").selectOption(role);
  await button(page, "Generate").click();
  return copyKey(page);
}

/** Returns everything that the page keeps, such as document, form values and storage. Asserts that it has no database and no cache. */
export async function kept(page) {
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

export async function requestText(request) {
  return [request.url(), request.postData() ?? "", JSON.stringify(await request.allHeaders())].join("\n");
}

/** The key is neither in the page nor in a request since the one with the number `from`, wherever the user goes. */
export async function isGone(page, requests, from, key) {
  const isKept = async () => (await kept(page)).includes(key);
  const here = await page.getByRole("heading", { level: 1 }).textContent();
  assert.equal(await isKept(), false, "the page keeps the key");
  await visit(page, "Clusters");
  assert.equal(await isKept(), false, "the key comes back in another view");
  for (const go of ["goBack", "goForward", "goBack"]) {
    await page[go]();
    await view(page, go === "goBack" ? here : "Clusters").waitFor();
    assert.equal(await isKept(), false, `the key comes back after ${go}`);
    assert.equal(await dialog(page).count(), 0);
  }
  const later = requests.slice(from).map((request) => [request.url(), request.postData(), JSON.stringify(request.headers())].join("\n"));
  assert.ok(later.length > 2, "there were requests");
  assert.ok(later.every((text) => !text.includes(key)), "a later request contains the key");
}

/** Ends the session, sends the form and signs in again. The identity provider still has its session. */
export async function signInAgain(page, submit) {
  await damageToken(page);
  await button(page, submit).click();
  await dialog(page).getByText("Your session has ended.", { exact: true }).waitFor();
  await page.unroute("**/v1/**");
  // The page removes the code from its address at once, so the test waits for the event.
  const returned = page.waitForEvent("framenavigated", (frame) => frame.url().includes("code="));
  await dialog(page).getByRole("button", { name: "Sign in again" }).click();
  await returned;
  await dialog(page).waitFor();
}

/** The next request to create a key arrives, but its answer does not. */
export const loseAnswer = (page) => page.route("**/v1/users/*/access-keys", async (route) => {
  assert.equal((await route.fetch()).status(), 201);
  await route.abort();
}, { times: 1 });
