// The world of the tests: the running local stack, a browser, and people who are signed in.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { createInterface } from "node:readline";
import axe from "axe-core";
import { chromium } from "playwright-core";

const ROOT = new URL("../../", import.meta.url).pathname;
const SCREENSHOTS = process.env.SCREENSHOTS ?? "target/screenshots";

export const WIDE = { width: 1440, height: 900 };
export const NARROW = { width: 360, height: 740 };

/** Starts the stack of `cargo run` and a browser. */
export async function startWorld() {
  await mkdir(`${ROOT}${SCREENSHOTS}`, { recursive: true });
  const stack = spawn("cargo", ["run", "--quiet", "--locked", "--", "--json", "--port", "0"], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await Promise.race([
    once(createInterface(stack.stdout), "line"),
    once(stack, "exit").then(([code]) => assert.fail(`the local stack ended with ${code}`)),
  ]);
  const { url, issuer, users } = JSON.parse(line);
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // Containers have neither the namespaces for its sandbox nor a large /dev/shm.
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });

  /** A request to the API past the page, as the administrator of a tenant. */
  const api = async (method, path, body, tenant = "acme") => {
    const { token } = users.find((user) => user.tenant_id === tenant && user.role === "admin");
    const response = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: body && JSON.stringify(body),
    });
    const text = await response.text();
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : undefined;
  };

  const validate = async (key) => {
    const response = await fetch(`${url}/v1/access-keys/validate`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ access_key: key }),
    });
    return response.json();
  };

  const stop = async () => {
    await browser.close();
    stack.kill("SIGINT");
    const [code] = stack.exitCode === null ? await once(stack, "exit") : [stack.exitCode];
    assert.equal(code, 0, "the local stack stops cleanly");
  };

  /** A browser window of its own that notes every request, CSP violation, script error and alert. */
  const open = async (t, viewport = WIDE) => {
    const context = await browser.newContext({ viewport, reducedMotion: "reduce" });
    await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: url });
    const page = await context.newPage();
    const requests = [];
    const complaints = [];
    page.on("request", (request) => requests.push(request));
    page.on("pageerror", (error) => complaints.push(`script error: ${error.message}`));
    page.on("console", (entry) => {
      // That an answer has an error status is the page's business, and shown there.
      if (entry.type() === "error" && !entry.text().startsWith("Failed to load resource")) complaints.push(entry.text());
    });
    page.on("dialog", (dialog) => {
      if (dialog.type() !== "beforeunload") complaints.push(`${dialog.type()}: ${dialog.message()}`);
      dialog.accept();
    });
    await page.exposeBinding("noteViolation", (_, text) => complaints.push(`CSP: ${text}`));
    await page.addInitScript(() =>
      addEventListener("securitypolicyviolation", (event) => noteViolation(`${event.violatedDirective} ${event.blockedURI}`)),
    );
    t.after(async () => {
      await context.close();
      assert.deepEqual(complaints, []);
    });
    return { page, requests, complaints };
  };

  /** Signs in by the page and the issuer's list of users. */
  const signIn = async (t, user, viewport) => {
    const opened = await open(t, viewport);
    const { page } = opened;
    await page.goto(`${url}/console`);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("link", { name: user }).click();
    await page.getByRole("heading", { name: "User Management" }).waitFor();
    return opened;
  };

  return { url, issuer, users, api, validate, open, signIn, stop };
}

/** Holds a view to account in both colour schemes and at both widths: axe-core's rules, and no sideways scrolling. */
export async function inspect(page, name) {
  for (const viewport of [WIDE, NARROW]) {
    for (const colorScheme of ["light", "dark"]) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      await page.evaluate(axe.source);
      const { violations } = await page.evaluate(() => axe.run());
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html + node.failureSummary).join("\n")}`);
      const view = `${name}, ${colorScheme}, ${viewport.width} px`;
      assert.deepEqual(found, [], view);
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(width <= viewport.width, `${view}: it is ${width} px wide`);
    }
  }
  await page.setViewportSize(WIDE);
  await page.emulateMedia({ colorScheme: "light" });
}

export const screenshot = (page, name) => page.screenshot({ path: `${ROOT}${SCREENSHOTS}/${name}.png` });
