// The five steps of the guide, and the form and the result of Create Access Key.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, test } from "node:test";
import { inspect, screenshot, startStack } from "./harness.js";
import { KEY, button, copyKey, dialog, generate, hasFocus, kept, keyRow, openForm, person, requestText, toast, userRow, visit } from "./page.js";

const stack = await startStack();
after(() => stack.stop());

/** Runs the command that the page shows below `title`, with the key in the environment. */
async function runShown(page, title, key) {
  const command = await dialog(page).locator(".command", { hasText: title }).locator("pre").textContent();
  return JSON.parse(execFileSync("bash", ["-c", command], { env: { ...process.env, ACCESS_KEY: key }, stdio: ["ignore", "pipe", "ignore"] }));
}

test("a key that is created and copied in the page works until it is revoked there", async (t) => {
  const { page, requests } = await stack.signIn(t, "admin@acme.example");
  await visit(page, "User Management");
  await userRow(page, "editor@acme.example").waitFor();
  await screenshot(page, "users");
  await inspect(page, "users");

  await openForm(page, "editor@acme.example");
  const form = dialog(page);
  await form.getByRole("heading", { name: "Create Access Key" }).waitFor();
  assert.ok(await button(page, "Generate").isDisabled(), "a key needs a name");
  await form.getByLabel("Name").fill("nightly-scan");
  assert.deepEqual(await form.locator(".choices label").allTextContents(), ["7 Days", "15 Days", "30 Days", "Custom"]);
  assert.ok(await form.getByRole("radio", { name: "30 Days" }).isChecked());
  const expiry = await form.getByText("This key will expire on").locator("xpath=..").locator("time").getAttribute("datetime");
  assert.ok(Math.abs(new Date(expiry) - Date.now() - 30 * 86_400_000) < 60_000, expiry);
  assert.equal(await form.getByLabel("Tenant Id").first().inputValue(), "acme");
  const limit = form.getByLabel("Maximum number of clusters");
  assert.deepEqual([await limit.inputValue(), await limit.isDisabled()], ["1", true], "viewer keys cannot onboard");
  assert.equal(await form.getByText("only be shown once").count(), 0, "there is no key to copy yet");
  const roles = await form.getByLabel("Role").locator("option").allTextContents();
  assert.deepEqual(roles, ["Viewer", "Cluster Onboarding", "Editor"], "an editor's key cannot have the administrator role");
  await form.getByLabel("Role").selectOption("Editor");
  assert.ok(await limit.isEnabled());
  await screenshot(page, "create-key");
  await inspect(page, "create key");

  await button(page, "Generate").click();
  await toast(page, "Access Token associated successfully");
  const field = form.getByLabel("Access Key", { exact: true });
  assert.doesNotMatch(await kept(page), KEY, "the key is masked");
  await form.getByText("This access key will only be shown once. Copy it now and store it in a safe, secure location.").waitFor();
  await screenshot(page, "generated-key");
  await inspect(page, "generated key");
  await button(page, "Show the key").click();
  const key = await field.inputValue();
  assert.match(key, KEY);
  await button(page, "Show the key").click();
  assert.ok(await form.getByText("Check it with curl").isHidden(), "the commands are folded");
  await form.getByText("Use it").click();
  await inspect(page, "commands for a key");
  assert.equal((await runShown(page, "Check it", key)).active, true);
  assert.equal(await copyKey(page), key);
  await hasFocus(page, "Close");
  await button(page, "Copied").waitFor();
  assert.match(await button(page, "Close").getAttribute("class"), /primary/);
  const valid = await stack.validate(key);
  assert.deepEqual([valid.active, valid.sub, valid.role], [true, "editor", "editor"]);

  await button(page, "Close").click();
  await dialog(page).waitFor({ state: "detached" });
  const closed = requests.length;
  assert.ok(!(await kept(page)).includes(key), "the key is gone from the page after Close");

  await page.getByRole("button", { name: /^Access keys of Editor/ }).click();
  const row = keyRow(page, "nightly-scan");
  await row.getByText("Active", { exact: true }).waitFor();
  await row.getByRole("link", { name: "0 of 1 clusters" }).waitFor();
  await inspect(page, "keys of a user");
  await row.getByRole("button", { name: /^Actions for nightly-scan/ }).click();
  await page.getByRole("menuitem", { name: "Revoke" }).click();
  await dialog(page).getByText("Everything that uses this key stops working immediately.").waitFor();
  await inspect(page, "revoke");
  await button(page, "Revoke").click();
  await row.getByText("Revoked").waitFor();
  const { active, code } = await stack.validate(key);
  assert.deepEqual({ active, code }, { active: false, code: "revoked" });

  for (const view of ["Clusters", "Activity", "Access Keys", "User Management"]) await visit(page, view);
  assert.ok(!(await kept(page)).includes(key), "the key does not come back");
  const later = await Promise.all(requests.slice(closed).map(requestText));
  assert.ok(later.length >= 5, "there were requests after Close");
  assert.ok(later.every((text) => !text.includes(key)), "no later request contains the key");
});

test("an administrator creates a key for a person found by name, with labels", async (t) => {
  const { page, requests } = await stack.signIn(t, "admin@acme.example");
  await button(page, "Create key").click();
  const form = dialog(page);
  assert.equal(await form.getByLabel("Owner").inputValue(), "Admin, admin@acme.example", "the administrator, unless another person is chosen");
  await form.getByLabel("Name").fill("for-somebody-else");
  await form.getByLabel("Owner").fill("edi");
  await person(page, /^Editor/).waitFor();
  await inspect(page, "people");
  assert.equal(requests.filter((request) => request.url().includes("/v1/users?")).length, 1);
  await button(page, "Generate").click();
  await form.getByText("Choose a person from the list.").waitFor();
  await hasFocus(page, "");
  await form.getByLabel("Owner").fill("edit");
  await person(page, /^Editor/).waitFor();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  assert.equal(await form.getByLabel("Owner").inputValue(), "Editor, editor@acme.example");
  assert.deepEqual(await form.getByLabel("Role").locator("option").allTextContents(), ["Viewer", "Cluster Onboarding", "Editor"]);
  await form.getByText("More options").click();
  await form.getByLabel("Labels").fill("team-b, staging,");
  await form.getByLabel("The holder of the key can rotate").check();
  await button(page, "Generate").click();
  const { sub } = await stack.validate(await copyKey(page));
  assert.equal(sub, "editor");
  await button(page, "Close").click();
  const [key] = (await stack.acme.call("GET", "/v1/users/editor/access-keys?label=team-b")).items;
  assert.deepEqual([key.labels, key.self_rotate], [["staging", "team-b"], true]);
  await keyRow(page, "for-somebody-else").getByText("team-b").waitFor();
});

test("the form warns about administrator keys and says what each role can do", async (t) => {
  const { page } = await stack.signIn(t, "admin@acme.example");
  await button(page, "Create key").click();
  const form = dialog(page);
  const warning = form.getByText("can do nearly anything in the tenant");
  for (const [role, power, isWarned] of [["Viewer", "read findings and clusters", false], ["Admin", "do everything", true], ["Cluster Onboarding", "onboard clusters and nothing else", false]]) {
    await form.getByLabel("Role").selectOption(role);
    await form.getByText(`A key with this role can ${power}`).waitFor();
    assert.equal(await warning.count(), isWarned ? 1 : 0, role);
  }
  await form.getByLabel("Role").selectOption("Admin");
  await inspect(page, "an administrator's key");
});

test("each error is shown next to its field", async (t) => {
  const { page, requests } = await stack.signIn(t, "admin@acme.example");
  await openForm(page, "editor@acme.example");
  const form = dialog(page);
  const errorOf = (label) => form.locator(".field", { has: page.getByLabel(label) }).locator(".error").textContent();
  await form.getByLabel("Name").fill("🔑".repeat(65));
  await form.getByLabel("Role").selectOption("Editor");
  await form.getByLabel("Maximum number of clusters").fill("101");
  await form.getByRole("radio", { name: "Custom" }).check({ force: true });
  await form.getByLabel("Expires at (UTC)").fill("2020-01-01T00:00");
  assert.match(await errorOf("Expires at (UTC)"), /^Choose a time in the future/, "at once");
  const before = requests.length;
  await button(page, "Generate").click();
  await form.getByText("Must have at most 64 characters.").waitFor();
  assert.equal(await errorOf("Name"), "Must have at most 64 characters.");
  assert.equal(await errorOf("Maximum number of clusters"), "Must be a whole number from 1 to 100.");
  assert.equal(requests.length, before, "no request was sent");
  await inspect(page, "wrong fields");

  const at = new Date(Date.now() + 40 * 86_400_000).toISOString().slice(0, 16);
  await form.getByLabel("Expires at (UTC)").fill(at);
  await form.getByLabel("Maximum number of clusters").fill("100");
  await form.getByLabel("Name").fill("\u202enimda");
  await button(page, "Generate").click();
  await form.getByText("Must not contain control characters").waitFor();
  assert.match(await errorOf("Name"), /^Must not contain control characters/, "the API's message is next to the field that it names");

  await form.getByLabel("Name").fill("custom");
  await button(page, "Generate").click();
  const { exp } = await stack.validate(await copyKey(page));
  assert.equal(exp, Date.parse(`${at}:00Z`) / 1000);
});

test("the focus stays where the user types, and an owner must be chosen", async (t) => {
  const { page } = await stack.signIn(t, "admin@acme.example");
  await button(page, "Create key").click();
  const form = dialog(page);
  await form.getByLabel("Owner").focus();
  await page.keyboard.press("Control+a");
  await page.keyboard.type("edi");
  assert.equal(await form.getByLabel("Owner").inputValue(), "edi");
  await form.getByLabel("Role").selectOption("Editor");
  await form.getByLabel("Name").fill("🔑".repeat(65));
  await form.getByLabel("Maximum number of clusters").fill("0");
  await button(page, "Generate").click();
  await form.getByText("Choose a person from the list.").waitFor();
  await page.waitForFunction(() => document.activeElement.role === "combobox" || document.activeElement.getAttribute("role") === "combobox");
  await form.getByLabel("Name").focus();
  await page.keyboard.press("End");
  await page.keyboard.press("Backspace");
  await form.getByText("Must have at most 64 characters.").waitFor({ state: "detached" });
  await form.getByText("Must be a whole number from 1 to 100.").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.labels[0].textContent.trim()), "Name *");
});

test("a cluster onboarded with the page's command is listed, and deleting it frees the slot", async (t) => {
  const { page } = await stack.signIn(t, "admin@acme.example");
  const key = await generate(page, "editor@acme.example", "agents", "Cluster Onboarding");
  await dialog(page).getByText("Use it").click();
  for (const command of [/helm/i, /knoxctl/]) await dialog(page).locator(".command p", { hasText: command }).waitFor();
  assert.equal((await runShown(page, "Onboard a cluster with curl", key)).message, "success");
  await button(page, "Close").click();

  await visit(page, "Clusters");
  await page.getByRole("link", { name: /^agents \(/ }).waitFor();
  const slots = async () => (await stack.validate(key)).clusters_used;
  assert.equal(await slots(), 1);
  await button(page, "Actions for my-cluster").click();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  await dialog(page).getByRole("listitem").filter({ hasText: "agents" }).waitFor();
  await button(page, "Delete").click();
  await toast(page, "The cluster my-cluster is deleted");
  assert.equal(await slots(), 0);
});
