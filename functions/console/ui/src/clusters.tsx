// The clusters that keys have onboarded, and their nodes.

import { Fragment } from "preact";
import { useEffect, useState } from "preact/hooks";
import { type Cluster, type ClusterWithNodes, type Key, type Page, clusterPath, keysPath, message } from "./api";
import { Confirm, useFocusAfterRemoval } from "./dialog";
import { Pager, Placeholder, useList } from "./list";
import { can } from "./roles";
import { useSession } from "./session";
import { Cell, DetailRow, Status, Table, ToggleCell, useOpenRows } from "./table";
import { Time } from "./time";

const COLUMNS = ["Nodes", "Name", "Type", "Status", "Onboarded with", "Onboarded On", "Last seen", "Actions"];
const TYPES = { k8s: "Kubernetes", vm: "Virtual machine" };

export function Clusters() {
  const { api, me, say } = useSession();
  const clusters = useList<Cluster>("/v1/clusters");
  const keyName = useKeyNames(clusters.rows);
  const rows = useOpenRows<number>();
  const [deleting, setDeleting] = useState<Cluster>();
  const { heading, noteRemoval } = useFocusAfterRemoval();
  const remove = async (cluster: Cluster) => {
    await api.delete(clusterPath(cluster.name));
    setDeleting(undefined);
    clusters.replace(cluster, undefined);
    noteRemoval();
    say(`The cluster ${cluster.name} is deleted`);
  };
  return (
    <>
      <h1 ref={heading} tabIndex={-1}>Clusters</h1>
      {clusters.rows.length > 0 && (
        <Table label="Clusters" columns={COLUMNS}>
          {clusters.rows.map((cluster) => (
            <Fragment key={cluster.id}>
              <tr role="row">
                <ToggleCell
                  column="Nodes"
                  label={`Nodes of ${cluster.name}`}
                  controls={`nodes-${cluster.id}`}
                  isOpen={rows.isOpen(cluster.id)}
                  onToggle={() => rows.toggle(cluster.id)}
                />
                <Cell column="Name"><b>{cluster.name}</b></Cell>
                <Cell column="Type">{TYPES[cluster.type]}</Cell>
                <Cell column="Status"><Status of={cluster.status} /></Cell>
                <Cell column="Onboarded with">{keyName(cluster.key_id)}</Cell>
                <Cell column="Onboarded On"><Time at={cluster.created_at} /></Cell>
                <Cell column="Last seen"><Time at={cluster.last_seen_at} /></Cell>
                <Cell column="Actions" kind="actions">
                  {can(me, "clusters:manage") && <button type="button" class="destructive" aria-label={`Delete ${cluster.name}`} onClick={() => setDeleting(cluster)}>Delete</button>}
                </Cell>
              </tr>
              {rows.isOpen(cluster.id) && (
                <DetailRow id={`nodes-${cluster.id}`} columns={COLUMNS.length}><Nodes of={cluster} /></DetailRow>
              )}
            </Fragment>
          ))}
        </Table>
      )}
      <Placeholder list={clusters} empty="No cluster is onboarded yet. Create a key that may onboard, and run its onboarding command on the cluster." />
      <Pager of={clusters.page} what="clusters" />
      {deleting && (
        <Confirm title={`Delete ${deleting.name}?`} action="Delete" isDestructive onConfirm={() => remove(deleting)} onClose={() => setDeleting(undefined)}>
          <p>The cluster and its nodes are removed, and each of these keys may connect one cluster more:</p>
          <ul>{deleting.key_ids.map((id) => <li key={id}>{keyName(id)}</li>)}</ul>
          <p>Agents that still run there have to be onboarded again.</p>
        </Confirm>
      )}
    </>
  );
}

/** Returns a function that maps a key's id to the key's name, or to the id if the caller cannot read the name. */
function useKeyNames(rows: Cluster[]): (id: string) => string {
  const { api, me } = useSession();
  const [names, setNames] = useState<Record<string, string>>({});
  const wanted = [...new Set(rows.flatMap((cluster) => cluster.key_ids))].sort().join(" ");
  useEffect(() => {
    if (!wanted) return;
    const aborter = new AbortController();
    const path = can(me, "access-keys:manage") ? "/v1/access-keys" : keysPath(me.id);
    const read = async () => {
      const missing = new Set(wanted.split(" "));
      let cursor: string | null = "";
      while (cursor !== null && missing.size > 0) {
        const query = new URLSearchParams({ limit: "100", ...(cursor && { cursor }) });
        const page: Page<Key> = await api.get(`${path}?${query}`, aborter.signal);
        setNames((before) => ({ ...before, ...Object.fromEntries(page.items.map(({ id, name }) => [id, name])) }));
        for (const { id } of page.items) missing.delete(id);
        cursor = page.next_cursor;
      }
    };
    // If the names cannot be read, the table shows the ids.
    read().catch(() => {});
    return () => aborter.abort();
  }, [api, me, wanted]);
  return (id) => names[id] ?? id;
}

function Nodes({ of: cluster }: { of: Cluster }) {
  const { api } = useSession();
  const [detail, setDetail] = useState<ClusterWithNodes>();
  const [error, setError] = useState<string>();
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    const aborter = new AbortController();
    setError(undefined);
    api.get<ClusterWithNodes>(clusterPath(cluster.name), aborter.signal).then(
      setDetail,
      (failure) => aborter.signal.aborted || setError(message(failure)),
    );
    return () => aborter.abort();
  }, [api, cluster.name, attempt]);
  const rows = detail?.nodes ?? [];
  const list = { rows, isLoading: !detail && !error, error, reload: () => setAttempt(attempt + 1) };
  return (
    <section aria-label={`Nodes of ${cluster.name}`}>
      {rows.length > 0 && (
        <Table label={`Nodes of ${cluster.name}`} columns={["Node", "Status", "Onboarded On", "Last seen"]}>
          {rows.map((node) => (
            <tr key={node.id} role="row">
              <Cell column="Node"><b>{node.name}</b></Cell>
              <Cell column="Status"><Status of={node.status} /></Cell>
              <Cell column="Onboarded On"><Time at={node.created_at} /></Cell>
              <Cell column="Last seen"><Time at={node.last_seen_at} /></Cell>
            </tr>
          ))}
        </Table>
      )}
      {detail && detail.nodes_total > rows.length && <p class="hint">{rows.length} of {detail.nodes_total} nodes are shown.</p>}
      <Placeholder list={list} empty="No node has reported yet." />
    </section>
  );
}
