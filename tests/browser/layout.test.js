// The layout of the page in windows of all sizes, in forced colours and with large fonts, and the behaviour of its
// forms.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { inspect, startStack } from "./harness.js";
import { button, choose, dialog, hasFocus, isInView, keyRow, openForm, toast, userRow, visit } from "./page.js";

const ADMIN = "admin@acme.example";
const WIDTHS = [1440, 810, 360, 320];
const SHORT = { width: 360, height: 500 };

const stack = await startStack();
after(() => stack.stop());

let onboarding;

before(async () => {
  for (const [id, role, name] of [["long", "editor", "Bartholomew Featherstonehaugh-Cholmondeley"], ["short", "viewer", "Ann"]]) {
    const email = id === "long" ? "bartholomew.featherstonehaugh@subsidiary.acme.example" : "ann@acme.example";
    await stack.acme.call("PUT", `/v1/users/auth0%7C${id}`, { role, name, email });
  }
  await stack.acme.createKey("auth0%7Clong", { name: "demoted", role: "editor", expires_in_days: 1, labels: ["production", "team-a"] });
  await stack.acme.call("PATCH", "/v1/users/auth0%7Clong", { role: "viewer" });
  await stack.acme.createKey("auth0%7Cshort", { name: "nightly-vulnerability-scan-of-everything-in-production", role: "viewer" });
  await stack.acme.call("PATCH", "/v1/users/auth0%7Cshort", { status: "inactive" });
  onboarding = await stack.acme.createKey("editor", { name: "onboarding", role: "cluster_onboarding", max_clusters: 2 });
  await stack.onboard(onboarding.access_key, { cluster_name: "production-europe-west", node_name: "node-a", type: "K8s" });
  await stack.onboard(onboarding.access_key, { cluster_name: "edge", type: "vm" });
});

/** The places whose tables the tests look at, each with a function that waits until it is complete. */
const PLACES = {
  "#keys": (page) => page.getByRole("table", { name: "Access Keys" }).waitFor(),
  "#users": async (page) => {
    await page.getByRole("button", { name: /^Access keys of Bartholomew/ }).click();
    await page.getByRole("table", { name: /^Access keys of/ }).waitFor();
  },
  "#clusters": async (page) => {
    await button(page, "Nodes of production-europe-west").click();
    await page.getByRole("table", { name: /^Nodes of/ }).waitFor();
  },
  "#activity": (page) => page.getByRole("table", { name: "Activity" }).waitFor(),
  key: async (page) => {
    await page.getByRole("table", { name: /^History of/ }).waitFor();
    await page.getByRole("table", { name: /^Clusters of/ }).waitFor();
  },
};

async function goTo(page, place) {
  await page.evaluate((hash) => { location.hash = hash; }, place === "key" ? `#keys/editor/${onboarding.id}` : place);
  await PLACES[place](page);
}

/** The words in tables that are broken into two lines, except e-mail addresses, ids and other long names. */
const brokenWords = (page) => page.evaluate(() => {
  const found = [];
  for (const cell of document.querySelectorAll("td, th")) {
    const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      for (const { 0: token, index } of texts.currentNode.data.matchAll(/\S+/g)) {
        if (/[@|]/.test(token)) continue;
        for (const { 0: word, index: at } of token.matchAll(/[^-]+/g)) {
          const range = document.createRange();
          range.setStart(texts.currentNode, index + at);
          range.setEnd(texts.currentNode, index + at + word.length);
          if (word.length <= 16 && new Set([...range.getClientRects()].map(({ top }) => top)).size > 1) found.push(word);
        }
      }
    }
  }
  return found;
});

const box = async (locator) => locator.evaluate((element) => element.getBoundingClientRect().toJSON());
const intersects = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

for (const place of Object.keys(PLACES)) {
  test(`${place}: no word in a table is broken, and nothing scrolls sideways, at any width`, async (t) => {
    const { page } = await stack.signIn(t, ADMIN);
    await goTo(page, place);
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 });
      assert.deepEqual(await brokenWords(page), [], `${width} px`);
      const wide = await page.evaluate(() => [document.documentElement, ...document.querySelectorAll(".table")].map((one) => one.scrollWidth - one.clientWidth));
      assert.ok(wide.every((excess) => excess <= 0), `${width} px: ${wide}`);
    }
  });
}

test("the menu of each row and its last item are in the window at all widths", async (t) => {
  const { page } = await stack.signIn(t, ADMIN);
  await visit(page, "User Management");
  const menus = page.getByRole("button", { name: /^Actions for / });
  await menus.first().waitFor();
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: 900 });
    for (const menu of await menus.all()) {
      await menu.click();
      const item = page.getByRole("menuitem", { name: "Delete", exact: true });
      assert.ok(await isInView(item), `${width} px`);
      const { left, right } = await box(menu);
      assert.ok(left >= 0 && right <= width, `${width} px`);
      await page.keyboard.press("Escape");
    }
  }
});

test("the expiry of a key is on one line in a wide window", async (t) => {
  const { page } = await stack.signIn(t, ADMIN);
  const times = page.getByRole("table", { name: "Access Keys" }).locator("small time");
  await times.first().waitFor();
  for (const time of await times.all()) assert.equal(await time.evaluate((element) => new Set([...element.getClientRects()].map(({ top }) => top)).size), 1);
});

test("a filter stands below its label at all widths", async (t) => {
  const { page } = await stack.signIn(t, ADMIN, { place: "#activity" });
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: 900 });
    for (const label of ["Who", "What", "From (UTC)", "To (UTC)"]) {
      const [above, below] = [await box(page.locator("label", { hasText: label }).first()), await box(page.getByLabel(label, { exact: true }))];
      assert.ok(above.bottom <= below.top && below.top - above.bottom < 8 && above.left === below.left, `${label}, ${width} px`);
    }
  }
});

test("the text of a row is at the height of its buttons", async (t) => {
  const { page } = await stack.signIn(t, ADMIN, { place: "#users" });
  const middle = ({ top, bottom }) => (top + bottom) / 2;
  const row = userRow(page, ADMIN);
  const name = middle(await box(row.locator("b").first()));
  for (const one of await row.getByRole("button").all()) assert.ok(Math.abs(middle(await box(one)) - name) < 1, `${name} ${middle(await box(one))}`);
});

// The chosen option must differ by more than its font weight.
const colours = (locator) => locator.evaluate((element) => {
  const { color, backgroundColor, borderBottomColor } = getComputedStyle(element);
  return { color, backgroundColor, borderBottomColor };
});

test("forced colours: the current view is the only one that is underlined", async (t) => {
  const { page } = await stack.signIn(t, ADMIN);
  await page.emulateMedia({ forcedColors: "active" });
  const { backgroundColor } = await colours(page.locator("header.top"));
  const views = page.getByRole("navigation", { name: "Views" }).getByRole("link");
  for (const view of await views.all()) {
    const isUnderlined = (await colours(view)).borderBottomColor !== backgroundColor;
    assert.equal(isUnderlined, (await view.getAttribute("aria-current")) === "page", await view.textContent());
  }
});

test("forced colours: the chosen tab differs from the other one", async (t) => {
  const { page } = await stack.signIn(t, ADMIN, { place: "#users" });
  await page.emulateMedia({ forcedColors: "active" });
  const [chosen, other] = [await colours(button(page, "Users in Workspace")), await colours(button(page, "Deactivated Users"))];
  assert.notEqual(chosen.backgroundColor, other.backgroundColor);
  assert.notEqual(chosen.color, other.color);
});

test("forced colours: the chosen expiration differs from the others", async (t) => {
  const { page } = await stack.signIn(t, ADMIN);
  await openForm(page, "editor@acme.example");
  await page.emulateMedia({ forcedColors: "active" });
  const look = (label) => colours(dialog(page).locator(".choices span", { hasText: label }));
  const chosen = await look("30 Days");
  for (const label of ["7 Days", "15 Days", "Custom"]) {
    assert.notEqual((await look(label)).backgroundColor, chosen.backgroundColor, label);
    assert.notEqual((await look(label)).color, chosen.color, label);
  }
});

test("radio buttons and checkboxes are square at all widths", async (t) => {
  const { page } = await stack.signIn(t, ADMIN, { place: "#users" });
  const isSquare = async (inputs) => {
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 });
      for (const input of await inputs.all()) {
        const { width: across, height } = await box(input);
        assert.ok(Math.abs(across - height) < 0.5 && height >= 16, `${across} × ${height} at ${width} px`);
      }
    }
  };
  await choose(page, userRow(page, "editor@acme.example"), "Change role");
  assert.equal(await dialog(page).getByRole("radio").count(), 3);
  await isSquare(dialog(page).getByRole("radio"));
  await page.keyboard.press("Escape");
  await openForm(page, "editor@acme.example");
  await dialog(page).getByText("More options").click();
  await isSquare(dialog(page).getByRole("checkbox"));
});

for (const viewport of [SHORT, { width: 320, height: 256 }]) {
  test(`a new key is in view after Generate in a window of ${viewport.width} × ${viewport.height}`, async (t) => {
    const { page } = await stack.signIn(t, ADMIN, { viewport });
    await openForm(page, "editor@acme.example", "short-window");
    await dialog(page).getByLabel("Maximum number of clusters").scrollIntoViewIfNeeded();
    await button(page, "Generate").click();
    await hasFocus(page, "Copy");
    assert.ok(await isInView(dialog(page).getByLabel("Access Key", { exact: true })));
    await button(page, "Copy").click();
    await button(page, "Close").click();
  });
}

test("a message covers neither the title nor the buttons of a dialog on a phone", async (t) => {
  const { page } = await stack.signIn(t, ADMIN);
  for (const viewport of [{ width: 360, height: 740 }, SHORT, { width: 320, height: 400 }]) {
    await page.setViewportSize(viewport);
    await openForm(page, "editor@acme.example", "message");
    await button(page, "Generate").click();
    for (const text of ["Access Token associated successfully", "Token copied to clipboard"]) {
      await toast(page, text);
      const message = await box(page.locator(".toast"));
      const parts = [dialog(page).getByRole("heading").first(), ...(await dialog(page).getByRole("button").all())];
      for (const part of parts) assert.ok(!intersects(message, await box(part)), `${text}: ${await part.evaluate((element) => element.outerHTML)}`);
      if (await button(page, "Copy").count()) await button(page, "Copy").click();
    }
    await button(page, "Close").click();
  }
});

/** The font sizes of all elements with text of their own. */
const fontSizes = (page) => page.evaluate(() =>
  [...document.querySelectorAll("body *")].filter((element) => [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()) || element.matches("input, select"))
    .map((element) => [`${element.localName}.${element.className}`, Number.parseFloat(getComputedStyle(element).fontSize)]));

test("all font sizes follow the font size that the browser is set to", async (t) => {
  const { page } = await stack.signIn(t, ADMIN);
  await openForm(page, "editor@acme.example");
  const normal = await fontSizes(page);
  assert.ok(normal.length > 30);
  const browser = await page.context().newCDPSession(page);
  await browser.send("Page.setFontSizes", { fontSizes: { standard: 24, fixed: 20 } });
  await page.waitForFunction(() => getComputedStyle(document.documentElement).fontSize === "24px");
  const large = await fontSizes(page);
  for (const [n, [element, size]] of normal.entries()) assert.ok(Math.abs(large[n][1] - size * 1.5) < 0.1, `${element}: ${size} px becomes ${large[n][1]} px`);
  for (const width of [1440, 360]) {
    await page.setViewportSize({ width, height: 900 });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${width} px: scrolls sideways`);
  }
});

/** Opens each dialog that an administrator fills in, and calls `check` for it. */
async function inEachForm(page, check) {
  await visit(page, "Access Keys");
  for (const name of ["Found a key?", "Create key"]) {
    await button(page, name).click();
    await check(name);
    await page.keyboard.press("Escape");
  }
  for (const item of ["Rotate", "Change", "Revoke"]) {
    await choose(page, keyRow(page, "onboarding"), item);
    await check(item);
    await page.keyboard.press("Escape");
  }
}

test("the text of inputs is at least 16 px high on a phone, so that the browser does not zoom in", async (t) => {
  const { page } = await stack.signIn(t, ADMIN, { viewport: { width: 360, height: 740 } });
  const check = async (name) => {
    const inputs = (await fontSizes(page)).filter(([element]) => /^(input|select)\./.test(element));
    assert.ok(inputs.length > 0, name);
    for (const [element, size] of inputs) assert.ok(size >= 16, `${name}: ${element} has ${size} px`);
  };
  await check("Access Keys");
  await inEachForm(page, check);
  for (const view of ["User Management", "Activity"]) {
    await visit(page, view);
    await check(view);
  }
});

test("every control on a phone is at least 44 px wide and high", async (t) => {
  const { page } = await stack.signIn(t, ADMIN, { viewport: { width: 360, height: 740 } });
  const check = async (name) => {
    // Links in a text are exempt (WCAG 2.2, 2.5.8), and for a radio button or checkbox, its label counts.
    const small = await page.evaluate(() =>
      [...document.querySelectorAll("header a, button, select, summary, label:has(input), input:not([type=radio], [type=checkbox])")]
        .filter((element) => element.checkVisibility({ contentVisibilityAuto: true }) && (!document.querySelector("dialog") || element.closest("dialog")))
        .map((element) => [element.outerHTML.slice(0, 120), element.getBoundingClientRect()])
        .filter(([, { width, height }]) => width < 43.9 || height < 43.9)
        .map(([html, { width, height }]) => `${width} × ${height}: ${html}`));
    assert.deepEqual(small, [], name);
  };
  await page.getByRole("table").waitFor();
  await check("Access Keys");
  await inEachForm(page, check);
  for (const place of Object.keys(PLACES)) {
    await goTo(page, place);
    await check(place);
  }
  await visit(page, "User Management");
  await choose(page, userRow(page, "editor@acme.example"), "Change role");
  await check("Change role");
});

test("Escape ends the composition of a text, and does not close the dialog", async (t) => {
  const { page } = await stack.signIn(t, ADMIN);
  await openForm(page, "editor@acme.example");
  const browser = await page.context().newCDPSession(page);
  await browser.send("Input.imeSetComposition", { text: "か", selectionStart: 1, selectionEnd: 1 });
  await page.evaluate(() => addEventListener("keydown", (event) => { window.wasComposing = event.isComposing; }, { capture: true, once: true }));
  await page.keyboard.press("Escape");
  assert.ok(await page.evaluate(() => window.wasComposing), "the browser composes a text");
  assert.equal(await dialog(page).count(), 1);
  await browser.send("Input.insertText", { text: "鍵" });
  await page.keyboard.press("Escape");
  await dialog(page).waitFor({ state: "detached" });
});

const errorOf = (page, label) => dialog(page).locator(".field", { has: page.getByLabel(label) }).locator(".error");

test("the first wrong field gets the focus, and its error disappears as soon as it is changed", async (t) => {
  const { page, requests } = await stack.signIn(t, ADMIN);
  await openForm(page, "editor@acme.example", "x".repeat(65));
  await dialog(page).getByLabel("Role").selectOption("Editor");
  await dialog(page).getByLabel("Maximum number of clusters").fill("0");
  const sent = requests.length;
  await button(page, "Generate").click();
  assert.equal(await errorOf(page, "Name").textContent(), "Must have at most 64 characters.");
  await page.waitForFunction(() => document.activeElement.labels?.[0]?.textContent.startsWith("Name"));
  await page.keyboard.press("Backspace");
  await errorOf(page, "Name").waitFor({ state: "detached" });
  assert.equal(await errorOf(page, "Maximum number of clusters").count(), 1, "the other error stays");
  await button(page, "Generate").click();
  await page.waitForFunction(() => document.activeElement.labels?.[0]?.textContent.startsWith("Maximum number of clusters"));
  await page.keyboard.press("1");
  await errorOf(page, "Maximum number of clusters").waitFor({ state: "detached" });
  assert.equal(requests.length, sent, "no request was sent");
});

test("an error from the service disappears as soon as its field is changed", async (t) => {
  const { page } = await stack.signIn(t, ADMIN);
  await openForm(page, "editor@acme.example", "\u202enimda");
  await button(page, "Generate").click();
  await errorOf(page, "Name").filter({ hasText: "Must not contain control characters" }).waitFor();
  await page.waitForFunction(() => document.activeElement.labels?.[0]?.textContent.startsWith("Name"));
  await dialog(page).getByLabel("Name").fill("admin");
  await errorOf(page, "Name").waitFor({ state: "detached" });
});

for (const place of Object.keys(PLACES)) {
  test(`${place}: passes axe in all schemes and at all widths`, async (t) => {
    const { page } = await stack.signIn(t, ADMIN);
    await goTo(page, place);
    await inspect(page, place);
  });
}
