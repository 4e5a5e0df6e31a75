// User Management: the directory, and each user's keys.

import { Fragment } from "preact";
import { useCallback } from "preact/hooks";
import { type Key, type User, keysPath } from "../api";
import type { KnownChange } from "../changes";
import { KeyTable, takeKeys } from "../parts/key-table";
import { Choice, SearchField } from "../parts/filters";
import { Pager, Placeholder, useList } from "../parts/list";
import { Menu, type MenuItem } from "../parts/menu";
import { userName, userTitle } from "../parts/person";
import { ROLE_NAMES, can, userRoleNames } from "../roles";
import { type Place, changeQuery, href } from "../route";
import { useSession } from "../session";
import { Cell, DetailRow, Status, Table, ToggleCell, useOpenRows } from "../parts/table";
import { Ago } from "../parts/time";

const ROWS = 10;

export function Users({ place }: { place: Place }) {
  const { me } = useSession();
  if (can(me, "users:manage")) return <Directory query={place.query} />;
  return (
    <>
      <div class="title"><h1 tabIndex={-1}>User Management</h1></div>
      <p class="hint">You see your own account and keys. Administrators see everyone's.</p>
      <UserTable users={[me]} isOpen />
    </>
  );
}

const TABS = { active: "Users in Workspace", inactive: "Deactivated Users" } as const;

function Directory({ query }: { query: URLSearchParams }) {
  const tab = query.get("status") === "inactive" ? "inactive" : "active";
  const [q, role] = [query.get("q"), query.get("role")];
  const take = useCallback((change: KnownChange, users: User[]) => {
    if (change.what === "deleted-user") return users.filter(({ id }) => id !== change.id);
    if (change.what !== "user") return users;
    const { user } = change;
    return users.flatMap((one) => (one.id !== user.id ? one : user.status === tab ? { ...one, ...user } : []));
  }, [tab]);
  const users = useList<User>("/v1/users", { status: tab, ...(q && { q }), ...(role && { role }) }, { size: ROWS, take });
  const none = tab === "active" ? "There are no users yet." : "There are no deactivated users.";
  return (
    <section data-focus tabIndex={-1}>
      <div class="title"><h1 tabIndex={-1}>User Management</h1></div>
      <div class="toolbar" role="search">
        <div class="tabs" role="group" aria-label="Users">
          {Object.entries(TABS).map(([status, label]) => (
            <button key={status} type="button" aria-pressed={status === tab} onClick={() => changeQuery({ status: status === "active" ? undefined : status })}>{label}</button>
          ))}
        </div>
        <SearchField label="Search users" placeholder="Search by name or e-mail" query={query} />
        <Choice name="role" label="Role" options={userRoleNames} query={query} />
      </div>
      {users.rows.length > 0 && <UserTable users={users.rows} />}
      <Placeholder list={users} what="users" empty={q ? `No user matches “${q}”.` : role ? "No user has this role." : none} />
      <Pager of={users.page} what="users" />
    </section>
  );
}

const COLUMNS = ["Keys", "Name", "E-mail", "Role", "Recent login", "Status", "Actions"];

function UserTable({ users, isOpen = false }: { users: User[]; isOpen?: boolean }) {
  const rows = useOpenRows<string>(isOpen ? users.map(({ id }) => id) : []);
  const actions = useUserActions();
  return (
    <Table label="Users" columns={COLUMNS}>
      {users.map((user) => (
        <Fragment key={user.id}>
          <tr role="row">
            <ToggleCell
              column="Keys"
              label={`Access keys of ${userTitle(user)}`}
              controls={`keys-${user.id}`}
              isOpen={rows.isOpen(user.id)}
              onToggle={() => rows.toggle(user.id)}
            />
            <Cell column="Name" kind="heading"><b>{userName(user)}</b></Cell>
            <Cell column="E-mail">{user.email ?? "–"}</Cell>
            <Cell column="Role"><span key={user.role}>{ROLE_NAMES[user.role]}</span></Cell>
            <Cell column="Recent login"><Ago at={user.last_sign_in_at} none="Never" /></Cell>
            <Cell column="Status"><Status of={user.status === "active" ? "Active" : "Deactivated"} tone={user.status === "active" ? "good" : "over"} /></Cell>
            <Cell column="Actions" kind="actions"><Menu label={`Actions for ${userTitle(user)}`} items={actions(user)} /></Cell>
          </tr>
          {rows.isOpen(user.id) && <DetailRow id={`keys-${user.id}`} columns={COLUMNS.length}><UserKeys of={user} /></DetailRow>}
        </Fragment>
      ))}
    </Table>
  );
}

function useUserActions(): (user: User) => MenuItem[] {
  const { me, open } = useSession();
  return (user) => {
    const isActive = user.status === "active";
    const [mayCreate, mayManage] = [isActive && (user.id === me.id || can(me, "access-keys:manage")), can(me, "users:manage")];
    const item = (label: string, what: "permissions" | "role" | "status" | "delete-user" | "revoke-all", isDestructive = false) => ({
      label, isDestructive, onSelect: () => open({ what, user }),
    });
    const go = (label: string, to: string) => ({ label, onSelect: () => (location.hash = to) });
    return [
      ...(mayCreate ? [{ label: "Get Access Key", onSelect: () => open({ what: "create-key", owner: user }) }] : []),
      item("View Permissions", "permissions"),
      ...(can(me, "audit:read") ? [go("Show activity", href(["activity"], { target: `user:${user.id}` }))] : []),
      ...(mayManage ? [item("Change role", "role")] : []),
      item("Revoke all keys", "revoke-all", true),
      ...(mayManage ? [item(isActive ? "Deactivate" : "Reactivate", "status", isActive), item("Delete", "delete-user", true)] : []),
    ];
  };
}

function UserKeys({ of: owner }: { of: User }) {
  const take = useCallback(takeKeys(owner.id, false), [owner.id]);
  const keys = useList<Key>(keysPath(owner.id), {}, { size: ROWS, take });
  const label = `Access keys of ${userName(owner)}`;
  return (
    <section data-focus tabIndex={-1} aria-label={label}>
      {keys.rows.length > 0 && <KeyTable label={label} keys={keys.rows} hasOwners={false} />}
      <Placeholder list={keys} what="keys" empty="There are no access keys yet." />
      <Pager of={keys.page} what="access keys" />
    </section>
  );
}
