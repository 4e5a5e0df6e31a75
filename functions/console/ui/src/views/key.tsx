// The page of one key: its record, its clusters and its history.

import { useEffect, useState } from "preact/hooks";
import { Entries } from "./activity";
import { type Cluster, type Key, type Page, keyPath } from "../api";
import { subscribe } from "../changes";
import { TYPES } from "./clusters";
import { useKeyActions } from "../parts/key-table";
import { Problem, Skeleton, useObject } from "../parts/list";
import { Who } from "../parts/person";
import { can, canOnboard } from "../roles";
import { href } from "../route";
import { useSession } from "../session";
import { Expiry, Role, Standing, keyTitle, ownerName } from "../parts/standing";
import { Cell, Status, Table } from "../parts/table";
import { Text, count } from "../parts/text";
import { Ago, Time } from "../parts/time";

/** `owner` is undefined if only the id of the key is known. */
export function KeyPage({ owner, id }: { owner: string | undefined; id: string }) {
  const { me } = useSession();
  const search = `/v1/access-keys?${new URLSearchParams({ q: id, limit: "1" })}`;
  const isAdmin = can(me, "access-keys:manage");
  const known = owner ?? (isAdmin ? undefined : me.id);
  const [mustSearch, setSearch] = useState(!known);
  const { value, error, reload, set } = useObject<Key | Page<Key>>(known && !mustSearch ? keyPath({ user_id: known, id }) : search);
  // The keys of a deleted user are only in the list of the tenant.
  useEffect(() => {
    if (error?.status === 404 && isAdmin) setSearch(true);
  }, [error]);
  const key = value && "items" in value ? value.items.find((one) => one.id === id) : value;
  useEffect(() => subscribe((change) => {
    // The record says more than the change: for example, who has revoked the key.
    if (change.what === "key" && change.key.id === id && key) set({ ...key, ...change.key });
    reload();
  }), [id, value]);
  useEffect(() => {
    if (key) document.title = `${key.name} · Access Keys`;
  }, [key?.name]);
  return (
    <section data-focus tabIndex={-1}>
      <p><a href="#keys">All access keys</a></p>
      <div class="title">
        <h1 tabIndex={-1}><Text of={key?.name ?? "Access key"} /></h1>
        {key && <Actions of={key} />}
      </div>
      {value && !key && <p class="placeholder">No such key exists, or it was removed after its expiry.</p>}
      {error && <Problem error={error} reload={reload} />}
      {!error && !value && <Skeleton />}
      {key && <Record of={key} />}
    </section>
  );
}

function Actions({ of: key }: { of: Key }) {
  const actions = useKeyActions()(key);
  return (
    <>
      <Standing of={key} />
      {actions.map(({ label, isDestructive, onSelect }) => (
        <button key={label} type="button" class={isDestructive ? "destructive" : undefined} aria-label={`${label} ${keyTitle(key)}`} onClick={onSelect}>{label}</button>
      ))}
    </>
  );
}

function Record({ of: key }: { of: Key }) {
  const { me } = useSession();
  return (
    <>
      <dl class="record">
        <div><dt>Id</dt><dd><code translate={false}>{key.id}</code></dd></div>
        <div><dt>Owner</dt><dd>{ownerName(key)}<br /><small>{[key.owner_email, key.owner_name && key.user_id].filter(Boolean).join(", ")}</small></dd></div>
        <div><dt>Role</dt><dd><Role of={key} /></dd></div>
        <div><dt>Expires</dt><dd><Expiry of={key} /></dd></div>
        <div><dt>Last used</dt><dd><Ago at={key.last_used_at} none="Never" /><br /><small>{key.last_used_at && <Time at={key.last_used_at} />}</small></dd></div>
        <div><dt>Created</dt><dd><Time at={key.created_at} /><br /><small>by <Who is={key.created_by} /></small></dd></div>
        <div><dt>Clusters</dt><dd><Text of={`${key.clusters_used} of ${key.max_clusters}`} /></dd></div>
        <div><dt>Labels</dt><dd><Text of={key.labels.join(", ") || "–"} /></dd></div>
        <div><dt>Rotated</dt><dd>{key.rotated_at ? <><Time at={key.rotated_at} /><br /><small><Text of={count(key.generation, "rotation")} /></small></> : <span>Never</span>}</dd></div>
        {key.superseded_until && <div><dt>Old secret works until</dt><dd><Time at={key.superseded_until} /><br /><small>{key.previous_used_at ? <span key="used">last used <Time at={key.previous_used_at} /></span> : <span key="unused">not used since the rotation</span>}</small></dd></div>}
        <div><dt>Holder can rotate</dt><dd><Text of={key.self_rotate ? "Yes" : "No"} /></dd></div>
        {key.revoked_at && <div><dt>Revoked</dt><dd><Time at={key.revoked_at} /><br /><small>{key.revoked_by && <>by <Who is={key.revoked_by} /></>}{key.revoked_reason && `: ${key.revoked_reason}`}</small></dd></div>}
      </dl>
      {canOnboard(key.role) && can(me, "clusters:read") && <Clusters of={key} />}
      {can(me, "audit:read") && (
        <>
          <h2>History</h2>
          <Entries label={`History of ${key.name}`} filter={{ target: `access_key:${key.id}` }} />
        </>
      )}
    </>
  );
}

function Clusters({ of: key }: { of: Key }) {
  const { value, error, reload } = useObject<Page<Cluster>>(`/v1/clusters?${new URLSearchParams({ key_id: key.id, limit: "100" })}`);
  return (
    <section data-focus tabIndex={-1} aria-label={`Clusters of ${key.name}`}>
      <h2>Clusters</h2>
      {error && <Problem error={error} reload={reload} />}
      {!value && !error && <Skeleton />}
      {value?.items.length === 0 && <p class="placeholder">No clusters are onboarded with this key.</p>}
      {value && value.items.length > 0 && (
        <Table label={`Clusters of ${key.name}`} columns={["Name", "Type", "Status", "Last seen"]}>
          {value.items.map((cluster) => (
            <tr key={cluster.id} role="row">
              <Cell column="Name" kind="heading"><b>{cluster.name}</b></Cell>
              <Cell column="Type">{TYPES[cluster.type]}</Cell>
              <Cell column="Status"><Status of={cluster.status === "active" ? "Active" : "Inactive"} tone={cluster.status === "active" ? "good" : "over"} /></Cell>
              <Cell column="Last seen"><Ago at={cluster.last_seen_at} none="Never" /></Cell>
            </tr>
          ))}
        </Table>
      )}
      {value?.next_cursor && <p class="hint"><a href={href(["clusters"], { key: key.id })}>Show all clusters of this key</a></p>}
    </section>
  );
}
