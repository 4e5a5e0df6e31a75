// User Management.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { inspect, startStack } from "./harness.js";
import { button, choose, dialog, generate, hasFocus, keyRow, openForm, toast, userRow, visit } from "./page.js";

const stack = await startStack();
after(() => stack.stop());

test("an administrator can search, page through, change, deactivate, reactivate and delete users", async (t) => {
  const ids = Array.from({ length: 60 }, (_, n) => `member-${String(n).padStart(2, "0")}`);
  await Promise.all(ids.map((id) => stack.globex.call("PUT", `/v1/users/${id}`, { role: "viewer", name: id, email: `${id}@globex.example` })));
  const { page } = await stack.signIn(t, "admin@globex.example", { place: "#users" });
  const row = (id) => userRow(page, `${id}@globex.example`);
  const names = () => page.getByRole("table", { name: "Users" }).getByRole("row").locator("b").allTextContents();
  await row("member-08").waitFor();
  assert.deepEqual(await names(), ["Admin", ...ids.slice(0, 9)]);
  for (let next = 1; next <= 5; next++) await button(page, "Next").click();
  await row("member-50").waitFor();
  await page.getByText("51–60 of 61").waitFor();
  await button(page, "Next").click();
  await row("member-59").waitFor();
  assert.equal(await button(page, "Next").getAttribute("aria-disabled"), "true");
  await inspect(page, "the last page of users");
  await page.getByLabel("Search users").fill("nobody at all");
  await page.getByText("No user matches").waitFor();
  await inspect(page, "no user found");
  await page.getByLabel("Search users").fill("MEMBER-4");
  await row("member-42").waitFor();
  assert.deepEqual(await names(), ids.slice(40, 50));
  await page.getByLabel("Search users").fill("member-42");
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
  assert.match(page.url(), /#users\?q=member-42$/, "the URL contains the search");
  await page.getByLabel("Role").selectOption("Editor");
  await page.getByText("No user matches").waitFor();
  await page.getByLabel("Role").selectOption("Viewer");

  await choose(page, row("member-42"), "View Permissions");
  await dialog(page).getByText("clusters:read").waitFor();
  await inspect(page, "permissions");
  await button(page, "Close").click();
  await page.getByLabel("Role").selectOption("Any");
  await choose(page, row("member-42"), "Change role");
  await dialog(page).getByRole("radio", { name: "Editor" }).check();
  await inspect(page, "change role");
  await button(page, "Save").click();
  await toast(page, "member-42 is now Editor");
  await row("member-42").getByText("Editor").waitFor();

  await choose(page, row("member-42"), "Deactivate");
  await inspect(page, "deactivate");
  await button(page, "Deactivate").click();
  await page.getByText("No user matches").waitFor();
  await button(page, "Deactivated Users").click();
  await row("member-42").getByRole("button", { name: /^Actions/ }).click();
  assert.deepEqual(await page.getByRole("menuitem").allTextContents(), ["View Permissions", "Show activity", "Change role", "Revoke all keys", "Reactivate", "Delete"]);
  await page.getByRole("menuitem", { name: "Reactivate" }).click();
  await button(page, "Reactivate").click();
  await button(page, "Users in Workspace").click();
  await choose(page, row("member-42"), "Delete");
  await inspect(page, "delete");
  await button(page, "Delete").click();
  await toast(page, "member-42 is deleted");
  await hasFocus(page, "User Management");

  await page.getByLabel("Search users").fill("admin");
  await choose(page, row("admin"), "Deactivate");
  await button(page, "Deactivate").click();
  await dialog(page).getByText("This is the tenant's last active administrator: make another one first.").waitFor();
});

test("a viewer sees only their own account and keys, without administrator actions", async (t) => {
  const { page, requests } = await stack.signIn(t, "viewer@acme.example");
  await page.getByRole("heading", { name: "My access keys" }).waitFor();
  assert.deepEqual(await page.getByRole("navigation", { name: "Views" }).getByRole("link").allTextContents(), ["Access Keys", "User Management", "Clusters"]);
  await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: "User Management" }).click();
  await page.getByText("You see your own account and keys.").waitFor();
  assert.equal(await page.getByRole("table", { name: "Users" }).getByRole("button", { name: /^Actions/ }).count(), 1);
  await userRow(page, "viewer@acme.example").first().getByRole("button", { name: /^Actions/ }).click();
  assert.deepEqual(await page.getByRole("menuitem").allTextContents(), ["Get Access Key", "View Permissions", "Revoke all keys"]);
  await page.keyboard.press("Escape");
  assert.equal((await stack.validate(await generate(page, "viewer@acme.example", "mine"))).role, "viewer");
  await button(page, "Close").click();
  await keyRow(page, "mine").getByRole("button", { name: /^Actions for mine/ }).click();
  assert.deepEqual(await page.getByRole("menuitem").allTextContents(), ["Show details", "Rotate", "Change", "Revoke"]);
  await page.keyboard.press("Escape");
  await openForm(page, "viewer@acme.example");
  assert.deepEqual(await dialog(page).getByLabel("Role").locator("option").allTextContents(), ["Viewer"]);
  await button(page, "Cancel").click();
  await inspect(page, "a viewer's page");
  assert.ok(requests.every((request) => !/\/v1\/(users|access-keys|audit)(\?|$)/.test(request.url())), "the page does not request the lists of the tenant");
});

test("revoking all keys of a user revokes those on the screen", async (t) => {
  const keys = await Promise.all(["one", "two"].map((name) => stack.acme.createKey("editor", { name, role: "viewer" })));
  const { page } = await stack.signIn(t, "admin@acme.example", { place: "#users" });
  await page.getByRole("button", { name: /^Access keys of Editor/ }).click();
  await keyRow(page, "two").getByText("Active", { exact: true }).waitFor();
  await choose(page, userRow(page, "editor@acme.example"), "Revoke all keys");
  await dialog(page).getByText("editor@acme.example").waitFor();
  await dialog(page).getByLabel("Reason").fill("laptop stolen");
  await inspect(page, "revoke all");
  await button(page, "Revoke all").click();
  for (const name of ["one", "two"]) await keyRow(page, name).getByText("Revoked").waitFor();
  for (const { access_key, id } of keys) {
    assert.equal((await stack.validate(access_key)).code, "revoked");
    assert.equal((await stack.acme.call("GET", `/v1/users/editor/access-keys/${id}`)).revoked_reason, "laptop stolen");
  }
});

test("menus and dialogs work with the keyboard", async (t) => {
  const { page } = await stack.signIn(t, "admin@acme.example", { place: "#users" });
  const menu = "Actions for Editor, editor@acme.example";
  await button(page, menu).focus();
  await page.keyboard.press("ArrowDown");
  await hasFocus(page, "Get Access Key");
  await page.keyboard.press("ArrowUp");
  await hasFocus(page, "Delete");
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowDown");
  await hasFocus(page, "View Permissions");
  await inspect(page, "menu");
  await page.keyboard.press("Escape");
  for (const isOpen of [true, false, true, false]) {
    await button(page, menu).click();
    assert.equal(await page.getByRole("menu", { name: menu }).isVisible(), isOpen, "a click on the button opens and closes the menu");
  }
  await button(page, menu).focus();
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
  await hasFocus(page, menu);
});
