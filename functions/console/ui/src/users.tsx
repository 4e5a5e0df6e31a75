// User Management: the directory, and each user's keys.

import { Fragment } from "preact";
import { useState } from "preact/hooks";
import { type User, type UserChange, type UserRole, userPath } from "./api";
import { CreateKey } from "./create-key";
import { Confirm, Dialog, useFocusAfterRemoval } from "./dialog";
import { Keys } from "./keys";
import { Pager, Placeholder, useList } from "./list";
import { Menu, type MenuItem } from "./menu";
import { ROLE_NAMES, ROLE_POWERS, USER_ROLES, can, permissions } from "./roles";
import { useSession } from "./session";
import { Cell, DetailRow, Status, Table, ToggleCell, useOpenRows } from "./table";
import { Time } from "./time";

export function Users() {
  const { me } = useSession();
  if (can(me, "users:manage")) return <Directory />;
  return (
    <>
      <h1>User Management</h1>
      <p class="hint">You see your own account and keys. Administrators see everyone's.</p>
      <UserTable users={[me]} />
    </>
  );
}

const TABS = { active: "Users in Workspace", inactive: "Deactivated Users" } as const;

function Directory() {
  const { me, setMe } = useSession();
  const [tab, setTab] = useState<keyof typeof TABS>("active");
  const [search, setSearch] = useState("");
  const { heading, noteRemoval } = useFocusAfterRemoval();
  const words = search.toLowerCase().split(/\s+/);
  const matches = ({ id, name, email, role }: User) => {
    const text = [id, name, email, ROLE_NAMES[role]].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  };
  const users = useList<User>("/v1/users", (user) => user.status === tab && matches(user), `${tab} ${search}`);
  const change = (old: User, user: User | undefined) => {
    users.replace(old, user);
    if (user?.id === me.id) setMe(user);
    if (user?.status !== tab) noteRemoval();
  };
  const none = tab === "active" ? "There are no users yet." : "There are no deactivated users.";
  return (
    <>
      <h1 ref={heading} tabIndex={-1}>User Management</h1>
      <div class="toolbar">
        <div class="tabs" role="group" aria-label="Users">
          {Object.entries(TABS).map(([status, label]) => (
            <button key={status} type="button" aria-pressed={status === tab} onClick={() => setTab(status as keyof typeof TABS)}>{label}</button>
          ))}
        </div>
        <input type="search" aria-label="Search users" placeholder="Search by name, e-mail or role" value={search} onInput={(e) => setSearch(e.currentTarget.value)} />
      </div>
      {users.rows.length > 0 && <UserTable users={users.rows} onChange={change} />}
      <Placeholder list={users} empty={search ? `No user matches “${search}”.` : none} />
      <Pager of={users.page} what="users" />
    </>
  );
}

const COLUMNS = ["Keys", "Name", "Email", "Role", "Recent Login", "Status", "Actions"];

type Open = { what: "create" | "permissions" | "role" | "status" | "delete"; user: User };

function UserTable({ users, onChange }: { users: User[]; onChange?(old: User, user: User | undefined): void }) {
  const { api, me, say } = useSession();
  const rows = useOpenRows<string>();
  const [created, setCreated] = useState(0);
  const [open, setOpen] = useState<Open>();
  const close = () => setOpen(undefined);

  const patch = async (user: User, change: UserChange, done: string) => {
    const changed = await api.patch<User>(userPath(user.id), change);
    close();
    onChange?.(user, changed);
    say(done);
  };
  const remove = async (user: User) => {
    await api.delete(userPath(user.id));
    close();
    onChange?.(user, undefined);
    say(`${title(user)} is deleted`);
  };

  const items = (user: User): MenuItem[] => {
    const item = (label: string, what: Open["what"], isDestructive = false) => ({ label, isDestructive, onSelect: () => setOpen({ what, user }) });
    const isActive = user.status === "active";
    const all = [item("View Permissions", "permissions")];
    if (isActive && (user.id === me.id || can(me, "access-keys:manage"))) all.unshift(item("Get Access Key", "create"));
    if (can(me, "users:manage")) {
      all.push(item("Change role", "role"), item(isActive ? "Deactivate" : "Reactivate", "status", isActive), item("Delete", "delete", true));
    }
    return all;
  };

  return (
    <>
      <Table label="Users" columns={COLUMNS}>
        {users.map((user) => (
          <Fragment key={user.id}>
            <tr role="row">
              <ToggleCell
                column="Keys"
                label={`Access keys of ${title(user)}`}
                controls={`keys-${user.id}`}
                isOpen={rows.isOpen(user.id)}
                onToggle={() => rows.toggle(user.id)}
              />
              <Cell column="Name"><b>{title(user)}</b></Cell>
              <Cell column="Email">{user.email ?? "–"}</Cell>
              <Cell column="Role">{ROLE_NAMES[user.role]}</Cell>
              <Cell column="Recent Login"><Time at={user.last_sign_in_at} none="Never" /></Cell>
              <Cell column="Status"><Status of={user.status} /></Cell>
              <Cell column="Actions" kind="actions"><Menu label={`Actions for ${title(user)}`} items={items(user)} /></Cell>
            </tr>
            {rows.isOpen(user.id) && (
              <DetailRow id={`keys-${user.id}`} columns={COLUMNS.length}><Keys key={created} owner={user} /></DetailRow>
            )}
          </Fragment>
        ))}
      </Table>
      {open?.what === "create" && (
        <CreateKey
          owner={open.user}
          onCreated={() => {
            setCreated(created + 1);
            if (!rows.isOpen(open.user.id)) rows.toggle(open.user.id);
          }}
          onClose={close}
        />
      )}
      {open?.what === "permissions" && <Permissions of={open.user} onClose={close} />}
      {open?.what === "role" && (
        <ChangeRole of={open.user} onConfirm={(role) => patch(open.user, { role }, `${title(open.user)} is now ${ROLE_NAMES[role]}`)} onClose={close} />
      )}
      {open?.what === "status" && <ChangeStatus of={open.user} onConfirm={(status) => patch(open.user, { status }, `${title(open.user)} is now ${status}`)} onClose={close} />}
      {open?.what === "delete" && (
        <Confirm title={`Delete ${title(open.user)}?`} action="Delete" isDestructive onConfirm={() => remove(open.user)} onClose={close}>
          <p>The account is removed and every access key of it stops working at once, for good. Clusters that are onboarded stay connected.</p>
          <Yourself user={open.user} />
        </Confirm>
      )}
    </>
  );
}

const title = (user: User) => user.name ?? user.id;

function Yourself({ user }: { user: User }) {
  const { me } = useSession();
  return user.id === me.id ? <p><b>This is your own account.</b></p> : null;
}

function Permissions({ of: user, onClose }: { of: User; onClose(): void }) {
  return (
    <Dialog title={`Permissions of ${title(user)}`} onClose={onClose}>
      <p>{ROLE_NAMES[user.role]}: can {ROLE_POWERS[user.role]}. A key of this user never has more than these.</p>
      <ul class="permissions">
        {permissions(user).map(({ name, meaning }) => <li key={name}>{meaning} <code>{name}</code></li>)}
      </ul>
      <footer><button type="button" onClick={onClose}>Close</button></footer>
    </Dialog>
  );
}

function ChangeRole({ of: user, onConfirm, onClose }: { of: User; onConfirm(role: UserRole): Promise<void>; onClose(): void }) {
  const [role, setRole] = useState(user.role);
  return (
    <Confirm title={`Change role of ${title(user)}`} action="Save" onConfirm={() => onConfirm(role)} onClose={onClose}>
      <fieldset>
        <legend>Role</legend>
        {USER_ROLES.map((one) => (
          <label key={one} class="option">
            <input type="radio" name="role" checked={role === one} onChange={() => setRole(one)} />
            <span><b>{ROLE_NAMES[one]}</b> can {ROLE_POWERS[one]}</span>
          </label>
        ))}
      </fieldset>
      <p class="hint">Existing keys follow at once: a key never has more than its owner.</p>
      <Yourself user={user} />
    </Confirm>
  );
}

function ChangeStatus({ of: user, onConfirm, onClose }: { of: User; onConfirm(status: keyof typeof TABS): Promise<void>; onClose(): void }) {
  if (user.status === "inactive") {
    return (
      <Confirm title={`Reactivate ${title(user)}?`} action="Reactivate" onConfirm={() => onConfirm("active")} onClose={onClose}>
        <p>The user can sign in again, and access keys that have neither expired nor been revoked work again.</p>
      </Confirm>
    );
  }
  return (
    <Confirm title={`Deactivate ${title(user)}?`} action="Deactivate" isDestructive onConfirm={() => onConfirm("inactive")} onClose={onClose}>
      <p>The user cannot sign in, and every access key of the user stops working at once, until reactivated. Clusters that are onboarded stay connected.</p>
      <Yourself user={user} />
    </Confirm>
  );
}
