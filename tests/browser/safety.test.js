// What the console must never do: act on the wrong target, lose a key, or say something false.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { NARROW, damageToken, hold, startStack } from "./harness.js";
import { KEY, button, choose, copyKey, dialog, hasFocus, kept, keyRow, openForm, requestText, toast, userRow, visit } from "./page.js";

const EDITOR = "editor@acme.example";
const PREVIOUS = "User Management";
const NOT_COPIED = "You have not copied the key.";

const stack = await startStack();
after(() => stack.stop());

/** Adds a user whose id is the first part of the e-mail address. */
async function addUser(email, role = "viewer", name = email.split("@")[0]) {
  const [id] = email.split("@");
  await stack.acme.call("PUT", `/v1/users/${id}`, { role, name, email });
  return id;
}

const addKey = (owner, name, more = {}) => stack.acme.createKey(owner, { name, role: "viewer", ...more });
const record = (owner, id) => stack.acme.call("GET", `/v1/users/${owner}/access-keys/${id}`);
const keysOf = async (owner) => (await stack.acme.call("GET", `/v1/users/${owner}/access-keys`)).items;
const shortId = ({ id }) => id.slice(-8);
const view = (page, name) => page.getByRole("heading", { level: 1, name, exact: true });
const fragment = (page) => new URL(page.url()).hash;
const closed = (page) => dialog(page).waitFor({ state: "detached" });
const signIn = (t, options) => stack.signIn(t, "admin@acme.example", options);

/** Signs in, and goes from User Management to Access Keys and to Clusters and back, so that there is a place on either side. */
async function betweenPlaces(t) {
  const opened = await signIn(t, { place: "#users" });
  await view(opened.page, PREVIOUS).waitFor();
  await visit(opened.page, "Access Keys");
  await visit(opened.page, "Clusters");
  await opened.page.goBack();
  await view(opened.page, "Access Keys").waitFor();
  return opened;
}

/** The two ways to get a new key. Each opens its form in Access Keys; `submit` is the button that sends it. */
const WAYS = {
  Generate: {
    url: "**/v1/users/admin/access-keys",
    async open(page, name) {
      await button(page, "Create key").click();
      await dialog(page).getByLabel("Name").fill(name);
    },
  },
  Rotate: {
    url: "**/rotate",
    async open(page, name) {
      await addKey("admin", name);
      await visit(page, "Clusters");
      await page.goBack();
      await choose(page, keyRow(page, name), "Rotate");
    },
  },
};

async function newKey(page, way, name) {
  await WAYS[way].open(page, name);
  await button(page, way).click();
  await button(page, "Copy").waitFor();
}

/** The ways to leave the place, except by reloading. Each ends elsewhere if nothing stops it. */
const EXITS = {
  Back: (page) => page.goBack(),
  Forward: (page) => page.goForward(),
  "a typed fragment": (page) => page.goto(`${stack.url}/console#activity`),
  "a link": (page) => page.getByRole("link", { name: "Activity" }).evaluate((link) => link.click()),
};

for (const way of ["Generate", "Rotate"]) {
  for (const [exit, leave] of Object.entries(EXITS)) {
    test(`after ${way}, ${exit} does not lose a key that is not copied`, async (t) => {
      const { page } = await betweenPlaces(t);
      await newKey(page, way, `${way}-then-${exit}`);
      await leave(page);
      await dialog(page).getByText(NOT_COPIED).waitFor();
      await hasFocus(page, "Back to the key");
      assert.equal(fragment(page), "#keys");
      await button(page, "Back to the key").click();
      assert.equal((await stack.validate(await copyKey(page))).active, true);
    });

    test(`during ${way}, ${exit} does not hide the key that comes`, async (t) => {
      const { page } = await betweenPlaces(t);
      await WAYS[way].open(page, `${exit}-during-${way}`);
      const release = await hold(page, WAYS[way].url);
      await button(page, way).click();
      await button(page, /^(Generating|Rotating)…$/).waitFor();
      await leave(page);
      await toast(page, "Wait for the response.");
      assert.equal(fragment(page), "#keys");
      release();
      assert.equal((await stack.validate(await copyKey(page))).active, true);
    });
  }

  test(`after ${way}, a second Back does not lose the key either`, async (t) => {
    const { page } = await betweenPlaces(t);
    await newKey(page, way, `twice-${way}`);
    await page.goBack();
    await dialog(page).getByText(NOT_COPIED).waitFor();
    await page.goBack();
    await page.waitForFunction(() => location.hash === "#keys");
    await button(page, "Back to the key").click();
    await page.goBack();
    await button(page, "Back to the key").click();
    assert.equal((await stack.validate(await copyKey(page))).active, true);
  });

  test(`a key that ${way} has just shown is protected from its first moment`, async (t) => {
    const { page } = await betweenPlaces(t);
    await WAYS[way].open(page, `first-moment-${way}`);
    await page.evaluate(() => {
      const isShown = () => [...document.querySelectorAll("dialog button")].some(({ textContent }) => textContent === "Copy");
      const observer = new MutationObserver(() => {
        if (!isShown()) return;
        observer.disconnect();
        location.hash = "#activity";
      });
      observer.observe(document.body, { childList: true, subtree: true });
    });
    await button(page, way).click();
    await dialog(page).getByText(NOT_COPIED).waitFor();
    await button(page, "Back to the key").click();
    assert.equal((await stack.validate(await copyKey(page))).active, true);
  });

  test(`after ${way}, Back works once the key is copied, and leaves nothing of the key`, async (t) => {
    const { page } = await betweenPlaces(t);
    await newKey(page, way, `copied-${way}`);
    const key = await copyKey(page);
    await page.goBack();
    await view(page, PREVIOUS).waitFor();
    await closed(page);
    assert.equal(fragment(page), "#users");
    assert.ok(!(await kept(page)).includes(key));
    await page.goForward();
    await view(page, "Access Keys").waitFor();
    assert.equal(await dialog(page).count(), 0);
    assert.ok(!(await kept(page)).includes(key));
  });

  test(`after ${way}, leaving the page for another one asks first`, async (t) => {
    const { page } = await signIn(t);
    await newKey(page, way, `asks-${way}`);
    const question = page.waitForEvent("dialog");
    await page.evaluate(() => location.assign("/console/licenses.txt"));
    assert.equal((await question).type(), "beforeunload");
  });
}

for (const viewport of [{ width: 360, height: 640 }, { width: 320, height: 256 }]) {
  const size = `${viewport.width} × ${viewport.height} pixels`;
  for (const [how, close] of [["Close", (page) => button(page, "Close").click()], ["the X", (page) => button(page, "Close dialog").click()], ["Escape", (page) => page.keyboard.press("Escape")]]) {
    test(`at ${size}, the warning after ${how} is in view and has the focus`, async (t) => {
      const { page } = await signIn(t, { place: "#users", viewport });
      await openForm(page, EDITOR, "small-window");
      await button(page, "Generate").click();
      await button(page, "Copy").waitFor();
      await close(page);
      await hasFocus(page, "Back to the key");
      for (const part of [dialog(page).getByText(NOT_COPIED), button(page, "Back to the key"), button(page, "Close without the key")]) {
        assert.equal(await isInView(part), true, await part.textContent());
      }
    });
  }
}

test("after Back to the key, the keyboard goes on working in the dialog", async (t) => {
  const { page } = await signIn(t);
  await newKey(page, "Generate", "keyboard");
  for (let times = 0; times < 2; times++) {
    await page.keyboard.press("Escape");
    await hasFocus(page, "Back to the key");
    await page.keyboard.press("Enter");
    await hasFocus(page, "Copy");
  }
});

/** Whether all corners of an element are in the window, and nothing covers its middle. */
const isInView = (locator) => locator.evaluate((element) => {
  const { left, right, top, bottom } = element.getBoundingClientRect();
  const isInside = left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight;
  return isInside && element.contains(document.elementFromPoint((left + right) / 2, (top + bottom) / 2));
});

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
  await toast(page, "on-screen is now inactive");
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

/** Requests that cannot be taken back: the row, the item of its menu, the button, its text while it runs, and the end. */
const ACTIONS = [
  { item: "Revoke", busy: "Revoking…", place: "#keys?q=slow-revoke", url: "**/access-keys/*", row: (page) => keyRow(page, "slow-revoke"), done: "The key slow-revoke is revoked" },
  { item: "Revoke all keys", submit: "Revoke all", busy: "Revoking…", url: "**/access-keys", done: "All keys of slow-revoke-all are revoked" },
  { item: "Deactivate", busy: "Deactivating…", done: "slow-deactivate is now inactive" },
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

/** The next request to create a key arrives, but its answer does not. */
const loseAnswer = (page) => page.route("**/v1/users/*/access-keys", async (route) => {
  assert.equal((await route.fetch()).status(), 201);
  await route.abort();
}, { times: 1 });
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

test("when the request of Generate never arrived, the page finds out and lets the user go on", async (t) => {
  const { page } = await lose(t, "never-arrived", loseRequest);
  await button(page, "Check whether it exists").click();
  await dialog(page).getByText("No such key exists.", { exact: true }).waitFor();
  await button(page, "Go on").click();
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
  // A validation counts as use, which takes the key out of the question. The first key of this page is not used.
  await newKey(page, "Generate", "same-name-unused");
  await copyKey(page);
  await button(page, "Close").click();
  for (const [name, lost] of [["same-name", loseRequest], ["same-name-unused", loseRequest]]) {
    await lost(page);
    await WAYS.Generate.open(page, name);
    await button(page, "Generate").click();
    await button(page, "Check whether it exists").click();
    await dialog(page).getByText("No such key exists.", { exact: true }).waitFor();
    await button(page, "Go on").click();
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

test("when the answer to Rotate is lost, Rotate again with the same values gives the new secret", async (t) => {
  const { id } = await addKey("admin", "lost-rotation");
  const { page } = await signIn(t);
  await choose(page, keyRow(page, "lost-rotation"), "Rotate");
  await page.route("**/rotate", async (route) => {
    assert.equal((await route.fetch()).status(), 200);
    await route.abort();
  }, { times: 1 });
  await button(page, "Rotate").click();
  await dialog(page).getByText("Rotate again with the same values to get it").waitFor();
  await button(page, "Rotate").click();
  assert.equal((await stack.validate(await copyKey(page))).active, true);
  assert.equal((await record("admin", id)).generation, 1);
});

test("a lost rotation cannot be left by mistake, and survives a new sign-in", async (t) => {
  const { id } = await addKey("admin", "lost-twice");
  const { page } = await betweenPlaces(t);
  await choose(page, keyRow(page, "lost-twice"), "Rotate");
  await page.route("**/rotate", async (route) => {
    assert.equal((await route.fetch()).status(), 200);
    await route.abort();
  }, { times: 1 });
  await button(page, "Rotate").click();
  await dialog(page).getByText("Rotate again with the same values to get it").waitFor();
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
  await dialog(page).getByText("The request may have had its effect nevertheless.").waitFor();
  await keyRow(page, "lost-revocation").getByText("Revoked", { exact: true }).waitFor();
});

test("an answer to Generate that is not from the service counts as lost", async (t) => {
  await lose(t, "behind-a-portal", (page) => page.route("**/access-keys", async (route) => {
    await route.fetch();
    await route.fulfill({ status: 200, contentType: "text/html", body: "<h1>Accept the terms of this network</h1>" });
  }, { times: 1 }));
});

/** Ends the session, sends the form and signs in again. The identity provider still has its session. */
async function signInAgain(page, submit) {
  await damageToken(page);
  await button(page, submit).click();
  await dialog(page).getByText("Your session has ended.", { exact: true }).waitFor();
  await page.unroute("**/v1/**");
  await dialog(page).getByRole("button", { name: "Sign in again" }).click();
  await page.waitForURL((url) => url.search.includes("code="), { waitUntil: "commit" });
  await dialog(page).waitFor();
}

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

test("what one user entered is not shown to another who signs in, and is gone for both", async (t) => {
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

test("the fields are used once: a later reload does not open the form again", async (t) => {
  const { page } = await signIn(t);
  await WAYS.Generate.open(page, "used-once");
  await signInAgain(page, "Generate");
  await page.reload();
  await view(page, "Access Keys").waitFor();
  assert.equal(await dialog(page).count(), 0);
  await button(page, "Create key").click();
  assert.equal(await dialog(page).getByLabel("Name").inputValue(), "");
});

/** Filters the keys behind the open dialog. The service refuses the token, but only after the returned callback is called. */
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
  test(`when the session ends beside the result of ${way}, the key is neither lost nor stored`, async (t) => {
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

/** The key is neither in the page nor in a request since the one with the number `from`, wherever the user goes. */
async function isGone(page, requests, from, key) {
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

for (const way of ["Generate", "Rotate"]) {
  test(`after Close, nothing keeps or sends the key of ${way}`, async (t) => {
    const { page, requests } = await signIn(t);
    await newKey(page, way, `gone-${way}`);
    assert.doesNotMatch(await kept(page), KEY, "the key is masked at first");
    await button(page, "Show the key").click();
    const key = await copyKey(page);
    assert.equal(await dialog(page).getByLabel("Access Key", { exact: true }).inputValue(), key);
    const from = requests.length;
    await button(page, "Close").click();
    await closed(page);
    await isGone(page, requests, from, key);
  });

  test(`after "Close without the key", nothing keeps or sends the key of ${way}`, async (t) => {
    const { page, requests } = await signIn(t);
    await newKey(page, way, `given-up-${way}`);
    await button(page, "Show the key").click();
    const key = await dialog(page).getByLabel("Access Key", { exact: true }).inputValue();
    assert.match(key, KEY);
    const from = requests.length;
    await button(page, "Close").click();
    await button(page, "Close without the key").click();
    await closed(page);
    await isGone(page, requests, from, key);
  });
}

test("a found key is sent only to be validated and to be revoked, and is gone after Close", async (t) => {
  const { access_key, id } = await addKey("editor", "found");
  const { page, requests } = await signIn(t);
  await button(page, "Found a key?").click();
  await dialog(page).getByLabel("Access key").fill(access_key);
  await button(page, "Check").click();
  await dialog(page).getByText(id, { exact: true }).waitFor();
  await button(page, "Revoke it").click();
  await toast(page, "The key is revoked");
  assert.equal((await record("editor", id)).status, "revoked");
  const texts = await Promise.all(requests.map(async (request) => [new URL(request.url()).pathname, await requestText(request)]));
  const carriers = texts.filter(([, text]) => text.includes(access_key));
  assert.deepEqual(carriers.map(([path]) => path), ["/v1/access-keys/validate", "/v1/access-keys/revoke"]);
  assert.ok(carriers.every(([, text]) => !text.split("\n")[0].includes(access_key)), "not in a URL");
  assert.ok(carriers.every(([, text]) => !/"authorization"/.test(text)), "without the user's token");
  const from = requests.length;
  await dialog(page).locator("footer").getByRole("button", { name: "Close" }).click();
  await closed(page);
  await isGone(page, requests, from, access_key);
});

test("the link from a found key to its record carries nothing of the key", async (t) => {
  const { access_key, id } = await addKey("editor", "found-link");
  const { page, requests } = await signIn(t);
  await button(page, "Found a key?").click();
  await dialog(page).getByLabel("Access key").fill(access_key);
  await button(page, "Check").click();
  const from = requests.length;
  await page.getByRole("link", { name: "Show everything about this key" }).click();
  await view(page, "found-link").waitFor();
  assert.equal(fragment(page), `#keys/editor/${id}`);
  await isGone(page, requests, from, access_key);
});

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

for (const how of ["moves", "replaces"]) {
  const translated = async (t, place) => {
    const { page } = await signIn(t, { place });
    await page.getByRole("table").first().waitFor();
    await translate(page, how);
    return page;
  };

  test(`in a page whose translator ${how} texts, a revoked key is shown as revoked`, async (t) => {
    const name = `translated-revoke-${how}`;
    await addKey("admin", name);
    const page = await translated(t, `#keys?q=${name}`);
    await choose(page, keyRow(page, name), "Revoke");
    await button(page, "Revoke").click();
    await toast(page, `The key ${name} is revoked`);
    await keyRow(page, name).getByText("Revoked", { exact: true }).waitFor();
    assert.equal(await keyRow(page, name).getByText("Active", { exact: true }).count(), 0);
  });

  test(`in a page whose translator ${how} texts, the page of a key follows Rotate, Change and Revoke`, async (t) => {
    const { id } = await addKey("editor", "translated", { role: "editor", max_clusters: 5 });
    const page = await translated(t, `#keys/editor/${id}`);
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

  test(`in a page whose translator ${how} texts, the forms say what the choices mean`, async (t) => {
    const name = `translated-form-${how}`;
    await addKey("editor", name, { role: "editor" });
    const page = await translated(t, `#keys?q=${name}`);
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
    assert.doesNotMatch(await text(), /The old secret ends on/);
    await dialog(page).getByLabel("Overlap").selectOption("604800");
    await dialog(page).getByText("The old secret ends on").waitFor();
    assert.doesNotMatch(await text(), /Everything that uses the old secret/);
    await button(page, "Cancel").click();
    await choose(page, keyRow(page, name), "Change");
    await dialog(page).getByLabel("Expires at (UTC)").fill(`${day(3)}T12:00`);
    await dialog(page).getByText("All secrets of the key stop working on").waitFor();
    assert.doesNotMatch(await text(), /The expiry can only become earlier/);
  });

  test(`in a page whose translator ${how} texts, a list shows the new name and limit of a key`, async (t) => {
    const name = `translated-list-${how}`;
    await addKey("editor", name, { role: "editor", max_clusters: 5 });
    const page = await translated(t, `#keys?q=${name}`);
    await choose(page, keyRow(page, name), "Change");
    await dialog(page).getByLabel("Name").fill(`new-${name}`);
    await dialog(page).getByLabel("Maximum number of clusters").fill("2");
    await button(page, "Save").click();
    await closed(page);
    await keyRow(page, `new-${name}`).waitFor();
    const text = await keyRow(page, `new-${name}`).innerText();
    assert.ok(text.includes(`new-${name}`) && text.includes("0 of 2") && !text.includes("0 of 5"), text);
  });

  test(`in a page whose translator ${how} texts, the result shows the new key and then that it is copied`, async (t) => {
    const page = await translated(t, "#users");
    await openForm(page, EDITOR, `translated-create-${how}`);
    await button(page, "Generate").click();
    await button(page, "Close").click();
    await dialog(page).getByText(NOT_COPIED).waitFor();
    await button(page, "Back to the key").click();
    await copyKey(page);
    assert.deepEqual(await dialog(page).locator("footer").getByRole("button").allInnerTexts(), ["Close", "Copied"]);
  });

  test(`in a page whose translator ${how} texts, paging and searching show the right rows`, async (t) => {
    for (let n = 0; n < 23; n++) await addKey("viewer", `${how}-${String(n).padStart(2, "0")}`);
    const page = await translated(t, "#keys?owner=viewer");
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

  test(`in a page whose translator ${how} texts, a lost answer and its end are shown`, async (t) => {
    const name = `translated-lost-${how}`;
    const page = await translated(t, "#keys");
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

  test(`in a page whose translator ${how} texts, a user's new role and status are shown`, async (t) => {
    const email = `translated-${how}@acme.example`;
    const owner = await addUser(email);
    await addKey(owner, `of-translated-${how}`);
    const page = await translated(t, `#users?q=translated-${how}`);
    const row = userRow(page, email);
    await row.getByRole("button", { name: /^Access keys of / }).click();
    await keyRow(page, `of-translated-${how}`).waitFor();
    await choose(page, row, "Change role");
    await dialog(page).getByRole("radio", { name: /^Editor/ }).check();
    await button(page, "Save").click();
    await row.getByText("Editor", { exact: true }).waitFor();
    assert.equal(await row.getByText("Viewer", { exact: true }).count(), 0);
    await choose(page, row, "Deactivate");
    await button(page, "Deactivate").click();
    await toast(page, "is now inactive");
    await page.getByText("No user matches", { exact: false }).waitFor();
    await button(page, "Deactivated Users").click();
    await row.getByText("Deactivated", { exact: true }).waitFor();
  });
}
