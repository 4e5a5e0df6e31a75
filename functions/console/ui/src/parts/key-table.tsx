// A table of keys, with a menu for each.

import type { Key } from "../api";
import type { KnownChange } from "../changes";
import { Menu, type MenuItem } from "./menu";
import { href, keyHref } from "../route";
import { useSession } from "../session";
import { Expiry, Role, Standing, isLive, keyTitle, ownerName, shortId } from "./standing";
import { Cell, Table } from "./table";
import { Text } from "./text";
import { Ago } from "./time";

/**
 * Applies a change to a list of keys. Without `owner`, the list contains the keys of everybody. Only the service knows
 * whether a filtered list contains a new key.
 */
export function takeKeys(owner: string | undefined, isFiltered: boolean) {
  return (change: KnownChange, keys: Key[]): Key[] | "reload" => {
    switch (change.what) {
      case "key": return keys.map((key) => (key.id === change.key.id ? { ...key, ...change.key } : key));
      case "new-key": return isFiltered ? "reload" : !owner || owner === change.key.user_id ? [change.key, ...keys.filter(({ id }) => id !== change.key.id)] : keys;
      case "keys-of": return !owner || owner === change.userId ? "reload" : keys;
      case "user": return keys.some(({ user_id }) => user_id === change.user.id) ? "reload" : keys;
      case "deleted-user": return keys.some(({ user_id }) => user_id === change.id) ? "reload" : keys;
      case "deleted-cluster": return "reload";
    }
  };
}

/** What can be done with a key. */
export function useKeyActions(): (key: Key) => MenuItem[] {
  const { open } = useSession();
  return (key) => {
    if (!isLive(key)) return [];
    return [
      { label: "Rotate", onSelect: () => open({ what: "rotate-key", key }) },
      { label: "Change", onSelect: () => open({ what: "change-key", key }) },
      { label: "Revoke", isDestructive: true, onSelect: () => open({ what: "revoke-key", key }) },
    ];
  };
}

interface Props {
  label: string;
  keys: Key[];
  /** Whether the keys belong to several people. */
  hasOwners: boolean;
}

export function KeyTable({ label, keys, hasOwners }: Props) {
  const actions = useKeyActions();
  const columns = ["Access key", ...(hasOwners ? ["Owner"] : []), "Role", "Expires", "Used", "Clusters", "Status", "Actions"];
  return (
    <Table label={label} columns={columns}>
      {keys.map((key) => (
        <tr key={key.id} role="row">
          <Cell column="Access key" kind="heading">
            <a class="name" href={keyHref(key)}><Text of={key.name} /></a> <code class="short" translate={false}>…{shortId(key)}</code>
            {key.labels.length > 0 && <span class="labels">{key.labels.map((label) => <span key={label} class="label">{label}</span>)}</span>}
          </Cell>
          {hasOwners && <Cell column="Owner">{ownerName(key)}<br /><small>{key.owner_email}</small></Cell>}
          <Cell column="Role"><Role of={key} /></Cell>
          <Cell column="Expires"><Expiry of={key} /></Cell>
          <Cell column="Used"><Ago at={key.last_used_at} none="Never" /></Cell>
          <Cell column="Clusters">
            <a href={href(["clusters"], { key: key.id })} aria-label={`${key.clusters_used} of ${key.max_clusters} clusters of ${key.name}`}><Text of={`${key.clusters_used} of ${key.max_clusters}`} /></a>
          </Cell>
          <Cell column="Status"><Standing of={key} /></Cell>
          <Cell column="Actions" kind="actions">
            <Menu
              label={`Actions for ${keyTitle(key)}`}
              items={[{ label: "Show details", onSelect: () => (location.hash = keyHref(key)) }, ...actions(key)]}
            />
          </Cell>
        </tr>
      ))}
    </Table>
  );
}
