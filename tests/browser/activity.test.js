// Activity, the audit trail in the page.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { inspect, screenshot, startStack } from "./harness.js";
import { button, choose, person, userRow, visit } from "./page.js";

const stack = await startStack();
after(() => stack.stop());

test("an administrator reads who did what, filtered, for the tenant, for a user and for a key", async (t) => {
  const today = () => new Date().toISOString().slice(0, 10);
  const firstDay = today();
  const { id } = await stack.acme.createKey("editor", { name: "watched", role: "editor", labels: ["team-a"] });
  await stack.acme.call("PATCH", `/v1/users/editor/access-keys/${id}`, { name: "watched", labels: ["team-b"] });
  await stack.acme.call("PATCH", "/v1/users/viewer", { role: "editor" });
  await stack.acme.call("DELETE", `/v1/users/editor/access-keys/${id}?reason=left%20the%20team`);
  const { page } = await stack.signIn(t, "admin@acme.example");
  await visit(page, "Activity");
  const table = page.getByRole("table", { name: "Activity" });
  const rows = () => table.getByRole("row").allTextContents();
  await table.getByText("Key revoked").waitFor();
  const [, revoked, changed, relabelled, created] = await rows();
  assert.match(revoked, /^Key revoked.*of editor.*you127\.0\.0\.1.*Reason: left the team.* UTC$/);
  assert.match(changed, /^User changed.*viewer.*role: viewer → editor/);
  assert.match(relabelled, /^Key changed.*labels: team-a → team-b/);
  assert.match(created, /^Key createdwatchedof editor.*expires at: \d{4}-\d\d-\d\d \d\d:\d\d UTC/);
  await screenshot(page, "activity");
  await inspect(page, "activity");

  await page.getByLabel("What").selectOption("User changed");
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
  assert.match(page.url(), /action=user\.changed/);
  await page.getByLabel("What").selectOption("Any");
  await page.getByLabel("From (UTC)").fill("2020-01-01");
  await page.getByLabel("To (UTC)").fill("2020-01-02");
  await page.getByText("No activity matches.").waitFor();
  await inspect(page, "no activity");
  await page.getByLabel("From (UTC)").fill(firstDay);
  await page.getByLabel("To (UTC)").fill(today());
  await table.getByText("Key revoked").waitFor();
  await button(page, "Clear filters").click();
  await page.getByLabel("Who").fill("view");
  await person(page, /^Viewer/).click();
  await page.getByText("No activity matches.").waitFor();

  await visit(page, "User Management");
  await choose(page, userRow(page, "viewer@acme.example"), "Show activity");
  await page.getByText("Only changes to user:viewer").waitFor();
  await table.getByText("role: viewer → editor").waitFor();
  assert.ok((await rows()).slice(1).every((row) => row.startsWith("User ")));

  await button(page, "Clear filters").click();
  await table.getByRole("link", { name: "watched" }).first().click();
  await page.getByRole("table", { name: "History of watched" }).getByText("Reason: left the team").waitFor();
});
