// Clusters and their nodes.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { answerWith, inspect, startStack } from "./harness.js";
import { button, clusterRow, dialog, hasFocus, keyRow, toast, visit } from "./page.js";

const stack = await startStack();
after(() => stack.stop());

test("clusters are listed with their nodes and keys, and only users with the permission can delete them", async (t) => {
  const { access_key } = await stack.acme.createKey("editor", { name: "onboarding", role: "cluster_onboarding", max_clusters: 2 });
  for (const node_name of ["node-a", "node-b", "node-c"]) await stack.onboard(access_key, { cluster_name: "prod", node_name, type: "K8s" });
  await stack.onboard(access_key, { cluster_name: "edge", type: "vm" });
  // A cluster becomes inactive after 30 days.
  const listed = await stack.acme.call("GET", "/v1/clusters");
  const past = { status: "inactive", created_at: "2026-01-01T10:00:00Z", last_seen_at: "2026-01-02T10:00:00Z" };
  const items = listed.items.map((cluster) => (cluster.name === "edge" ? { ...cluster, ...past } : cluster));
  const { page } = await stack.signIn(t, "admin@acme.example");
  await answerWith(page, "listClusters", 200, { ...listed, items });
  await visit(page, "Clusters");
  await clusterRow(page, "edge").getByRole("link", { name: /^onboarding \(/ }).waitFor();
  assert.match(await clusterRow(page, "edge").textContent(), /edge.*Virtual machine.*Inactive.*onboarding/);
  assert.match(await clusterRow(page, "prod").textContent(), /prod.*Kubernetes.*Active.*onboarding/);
  assert.equal(await clusterRow(page, "edge").locator("time").last().getAttribute("datetime"), "2026-01-02T10:00:00Z");
  const nodes = page.getByRole("table", { name: "Nodes of prod" });
  await button(page, "Nodes of prod").click();
  await nodes.waitFor();
  assert.deepEqual(await nodes.locator("b").allTextContents(), ["node-a", "node-b", "node-c"]);
  await inspect(page, "clusters");

  // A response holds at most 1000 nodes.
  const { nodes: [node], ...prod } = await stack.acme.call("GET", "/v1/clusters/prod");
  await answerWith(page, "getCluster", 200, { ...prod, nodes: [node] });
  await button(page, "Nodes of prod").click();
  await button(page, "Nodes of prod").click();
  await page.getByText("1 of 3 nodes are shown.").waitFor();
  await inspect(page, "some of the nodes");

  await button(page, "Actions for prod").click();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  await dialog(page).getByRole("listitem").filter({ hasText: "onboarding" }).waitFor();
  await inspect(page, "delete a cluster");
  await button(page, "Delete").click();
  await toast(page, "The cluster prod is deleted");
  assert.equal(await button(page, "Actions for prod").count(), 0);
  await hasFocus(page, "Clusters");
  assert.deepEqual((await stack.acme.call("GET", "/v1/clusters")).items.map(({ name }) => name), ["edge"]);

  const viewer = await stack.signIn(t, "viewer@acme.example");
  await visit(viewer.page, "Clusters");
  await viewer.page.getByRole("cell", { name: "edge", exact: true }).waitFor();
  assert.equal(await viewer.page.getByRole("button", { name: /^Actions/ }).count(), 0);
});

test("the slots of a key lead to its clusters, and a cluster leads to its key", async (t) => {
  const first = await stack.acme.createKey("editor", { name: "east", role: "cluster_onboarding", max_clusters: 2 });
  const second = await stack.acme.createKey("editor", { name: "west", role: "cluster_onboarding", max_clusters: 2 });
  await stack.onboard(first.access_key, { cluster_name: "east-1", type: "K8s" });
  await stack.onboard(second.access_key, { cluster_name: "west-1", type: "K8s" });
  const { page } = await stack.signIn(t, "admin@acme.example");
  await keyRow(page, "east").getByRole("link", { name: "1 of 2 clusters of east" }).click();
  await clusterRow(page, "east-1").waitFor();
  assert.equal(await clusterRow(page, "west-1").count(), 0);
  await page.getByText("Only clusters of east (").waitFor();
  await inspect(page, "clusters of a key");
  await button(page, "Show all clusters").click();
  await clusterRow(page, "west-1").getByRole("link").click();
  await page.getByRole("heading", { name: "west", exact: true }).waitFor();
  await page.getByRole("table", { name: "Clusters of west" }).getByText("west-1").waitFor();
});

test("a tenant without clusters and a deployment without the cluster API look different", async (t) => {
  const { page } = await stack.signIn(t, "admin@globex.example");
  await visit(page, "Clusters");
  await page.getByText("No clusters are onboarded yet.").waitFor();
  await inspect(page, "no clusters");
  await visit(page, "User Management");
  await page.route("**/v1/clusters?*", (route) => route.continue({ url: `${stack.url}/v1/no-such-route` }));
  await visit(page, "Clusters");
  await page.getByText("This deployment does not offer this feature.").waitFor();
  await inspect(page, "a deployment without clusters");
});
