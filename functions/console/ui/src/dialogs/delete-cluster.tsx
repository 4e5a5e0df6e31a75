// The dialog to delete a cluster.

import { type Cluster, clusterPath } from "../api";
import { publish } from "../changes";
import { Confirm } from "../parts/dialog";
import { useSession } from "../session";
import { Time } from "../parts/time";

export interface DeleteClusterSpec {
  what: "delete-cluster";
  cluster: Cluster;
  /** What the keys that hold a slot are called. */
  keys: string[];
}

export function DeleteCluster({ spec: { cluster, keys }, onClose }: { spec: DeleteClusterSpec; onClose(): void }) {
  const { api, say } = useSession();
  const remove = async () => {
    await api.delete(clusterPath(cluster.name));
    publish({ what: "deleted-cluster", name: cluster.name });
    onClose();
    say(`The cluster ${cluster.name} is deleted`);
  };
  return (
    <Confirm title={`Delete ${cluster.name}?`} action="Delete" busy="Deleting…" isDestructive onConfirm={remove} onClose={onClose}>
      <p>Onboarded <Time at={cluster.created_at} />, last seen <Time at={cluster.last_seen_at} />.</p>
      <p>{keys.length > 0 ? "The cluster and its nodes are removed, and a slot of each of these keys becomes free:" : "The cluster and its nodes are removed."}</p>
      <ul>{keys.map((name) => <li key={name}>{name}</li>)}</ul>
      <p>Agents that still run in the cluster must be onboarded again.</p>
    </Confirm>
  );
}
