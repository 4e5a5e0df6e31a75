// A user's keys, below the user's row.

import { useState } from "preact/hooks";
import { type Key, type User, keyPath, keysPath } from "./api";
import { Confirm } from "./dialog";
import { Pager, Placeholder, useList } from "./list";
import { ROLE_NAMES, ROLE_POWERS, can } from "./roles";
import { useSession } from "./session";
import { Cell, Status, Table } from "./table";
import { Time } from "./time";

const COLUMNS = ["Access Key", "Role", "Created On", "Expire On", "Cluster Connected", "Last used", "Status", "Actions"];

export function Keys({ owner }: { owner: User }) {
  const { api, me, say } = useSession();
  const keys = useList<Key>(keysPath(owner.id));
  const [revoking, setRevoking] = useState<Key>();
  const [limiting, setLimiting] = useState<Key>();
  const what = `Access keys of ${owner.name ?? owner.id}`;

  const revoke = async (key: Key) => {
    await api.delete(keyPath(key));
    keys.replace(key, { ...key, status: "revoked" });
    setRevoking(undefined);
    say(`The key ${key.name} is revoked`);
  };
  const limit = async (key: Key, clusters: number) => {
    keys.replace(key, await api.patch<Key>(keyPath(key), { max_clusters: clusters }));
    setLimiting(undefined);
    say(`The key ${key.name} may connect ${count(clusters)}`);
  };

  return (
    <section class="keys" aria-label={what}>
      {keys.rows.length > 0 && (
        <Table label={what} columns={COLUMNS}>
          {keys.rows.map((key) => (
            <tr key={key.id} role="row">
              <Cell column="Access Key"><b>{key.name}</b></Cell>
              <Cell column="Role">{ROLE_NAMES[key.role]}</Cell>
              <Cell column="Created On"><Time at={key.created_at} /></Cell>
              <Cell column="Expire On"><Time at={key.expires_at} /></Cell>
              <Cell column="Cluster Connected">{key.clusters_used} / {key.max_clusters}</Cell>
              <Cell column="Last used"><Time at={key.last_used_at} none="Never" /></Cell>
              <Cell column="Status"><Status of={key.status} /></Cell>
              <Cell column="Actions" kind="actions">
                {key.status === "active" && (
                  <>
                    {can(me, "access-keys:manage") && <button type="button" aria-label={`Limit clusters of ${key.name}`} onClick={() => setLimiting(key)}>Limit</button>}
                    <button type="button" class="destructive" aria-label={`Revoke ${key.name}`} onClick={() => setRevoking(key)}>Revoke</button>
                  </>
                )}
              </Cell>
            </tr>
          ))}
        </Table>
      )}
      <Placeholder list={keys} empty="No access keys yet." />
      <Pager of={keys.page} what="access keys" />
      {revoking && (
        <Confirm title={`Revoke ${revoking.name}?`} action="Revoke" isDestructive onConfirm={() => revoke(revoking)} onClose={() => setRevoking(undefined)}>
          <p>Whatever uses this key is refused from now on. It can {ROLE_POWERS[revoking.role]}.</p>
          <p>Last used: <Time at={revoking.last_used_at} none="never" />.</p>
          <p>{revoking.clusters_used > 0 && `${count(revoking.clusters_used)} onboarded with it stay connected. `}This cannot be undone.</p>
        </Confirm>
      )}
      {limiting && <Limit of={limiting} onConfirm={(clusters) => limit(limiting, clusters)} onClose={() => setLimiting(undefined)} />}
    </section>
  );
}

function Limit({ of: key, onConfirm, onClose }: { of: Key; onConfirm(clusters: number): Promise<void>; onClose(): void }) {
  const [clusters, setClusters] = useState(String(key.max_clusters));
  return (
    <Confirm title={`Limit clusters of ${key.name}`} action="Save" onConfirm={() => onConfirm(Number(clusters))} onClose={onClose}>
      <p>The key may go up to the number that it was created with. It has connected {count(key.clusters_used)}; they stay connected.</p>
      <label class="field">
        Maximum number of clusters
        <input type="number" min={1} max={100} required value={clusters} onInput={(e) => setClusters(e.currentTarget.value)} />
      </label>
    </Confirm>
  );
}

const count = (clusters: number) => (clusters === 1 ? "1 cluster" : `${clusters} clusters`);
