// The clusters that keys have onboarded, and their nodes.

import { Fragment } from "preact";
import { useMemo } from "preact/hooks";
import { type Cluster, type ClusterWithNodes, type Key, type Page, clusterPath, keysPath } from "../api";
import type { KnownChange } from "../changes";
import { ClearFilters } from "../parts/filters";
import { Pager, Placeholder, Problem, Skeleton, useList, useObject } from "../parts/list";
import { Menu } from "../parts/menu";
import { can } from "../roles";
import { type Place, href } from "../route";
import { useSession } from "../session";
import { shortId } from "../parts/standing";
import { Cell, DetailRow, Status, Table, ToggleCell, useOpenRows } from "../parts/table";
import { Text } from "../parts/text";
import { Ago } from "../parts/time";

const ROWS = 10;
const COLUMNS = ["Nodes", "Name", "Type", "Status", "Onboarded with", "Onboarded", "Last seen", "Actions"];
export const TYPES = { k8s: "Kubernetes", vm: "Virtual machine" };

function take(change: KnownChange, clusters: Cluster[]): Cluster[] {
  return change.what === "deleted-cluster" ? clusters.filter(({ name }) => name !== change.name) : clusters;
}

export function Clusters({ place: { query } }: { place: Place }) {
  const { me, open } = useSession();
  const key = query.get("key");
  const clusters = useList<Cluster>("/v1/clusters", key ? { key_id: key } : {}, { size: ROWS, take });
  const { keyName, isKnown } = useKeyNames();
  const mayShow = (id: string) => can(me, "access-keys:manage") || isKnown(id);
  const rows = useOpenRows<number>();
  return (
    <section data-focus tabIndex={-1}>
      <div class="title"><h1 tabIndex={-1}>Clusters</h1></div>
      {key && (
        <p>
          <span>Only clusters of </span><a href={href(["keys", key])}><Text of={keyName(key)} /></a>{" "}
          <ClearFilters names={["key"]} label="Show all clusters" />
        </p>
      )}
      {clusters.rows.length > 0 && (
        <Table label="Clusters" columns={can(me, "clusters:manage") ? COLUMNS : COLUMNS.slice(0, -1)}>
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
                <Cell column="Name" kind="heading"><b>{cluster.name}</b></Cell>
                <Cell column="Type">{TYPES[cluster.type]}</Cell>
                <Cell column="Status"><Liveness of={cluster.status} /></Cell>
                <Cell column="Onboarded with">{mayShow(cluster.key_id) ? <a href={href(["keys", cluster.key_id])}><Text of={keyName(cluster.key_id)} /></a> : <Text of={keyName(cluster.key_id)} />}</Cell>
                <Cell column="Onboarded"><Ago at={cluster.created_at} none="" /></Cell>
                <Cell column="Last seen"><Ago at={cluster.last_seen_at} none="Never" /></Cell>
                {can(me, "clusters:manage") && (
                  <Cell column="Actions" kind="actions">
                    <Menu
                      label={`Actions for ${cluster.name}`}
                      items={[{ label: "Delete", isDestructive: true, onSelect: () => open({ what: "delete-cluster", cluster, keys: cluster.key_ids.map(keyName) }) }]}
                    />
                  </Cell>
                )}
              </tr>
              {rows.isOpen(cluster.id) && <DetailRow id={`nodes-${cluster.id}`} columns={COLUMNS.length}><Nodes of={cluster} /></DetailRow>}
            </Fragment>
          ))}
        </Table>
      )}
      <Placeholder list={clusters} what="clusters" empty={key ? "No clusters are onboarded with this key." : "No clusters are onboarded yet. Create a key whose role can onboard clusters, and run the onboarding command that is shown with the key."} />
      <Pager of={clusters.page} what="clusters" />
    </section>
  );
}

function Liveness({ of: status }: { of: "active" | "inactive" }) {
  return status === "active" ? <Status of="Active" tone="good" /> : <Status of="Inactive" tone="over" />;
}

/** Names keys by their ids. One request reads the names of the newest keys. Of other keys, only the id is shown. */
function useKeyNames(): { keyName(id: string): string; isKnown(id: string): boolean } {
  const { me } = useSession();
  const { value } = useObject<Page<Key>>(`${can(me, "access-keys:manage") ? "/v1/access-keys" : keysPath(me.id)}?limit=100`);
  const names = useMemo(() => new Map(value?.items.map(({ id, name }) => [id, name])), [value]);
  return { keyName: (id) => `${names.get(id) ?? "Key"} (${shortId({ id })})`, isKnown: (id) => names.has(id) };
}

function Nodes({ of: cluster }: { of: Cluster }) {
  const { value, error, reload } = useObject<ClusterWithNodes>(clusterPath(cluster.name));
  return (
    <section data-focus tabIndex={-1} aria-label={`Nodes of ${cluster.name}`}>
      {error && <Problem error={error} reload={reload} />}
      {!value && !error && <Skeleton />}
      {value?.nodes.length === 0 && <p class="placeholder" role="status">No nodes have been onboarded yet.</p>}
      {value && value.nodes.length > 0 && (
        <Table label={`Nodes of ${cluster.name}`} columns={["Node", "Status", "Onboarded", "Last seen"]}>
          {value.nodes.map((node) => (
            <tr key={node.id} role="row">
              <Cell column="Node" kind="heading"><b>{node.name}</b></Cell>
              <Cell column="Status"><Liveness of={node.status} /></Cell>
              <Cell column="Onboarded"><Ago at={node.created_at} none="" /></Cell>
              <Cell column="Last seen"><Ago at={node.last_seen_at} none="Never" /></Cell>
            </tr>
          ))}
        </Table>
      )}
      {value && value.nodes_total > value.nodes.length && <p class="hint">{value.nodes.length} of {value.nodes_total} nodes are shown.</p>}
    </section>
  );
}
