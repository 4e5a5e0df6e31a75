// The dialogs about a user: permissions, role, status and deletion.

import { type User, type UserChange, type UserRole, userPath } from "../api";
import { publish } from "../changes";
import { Confirm, Dialog } from "../parts/dialog";
import { useFields } from "./draft";
import { WhichUser, userName } from "../parts/person";
import { ROLE_NAMES, ROLE_POWERS, USER_ROLES, permissions } from "../roles";
import { useSession } from "../session";

export type UserSpec = { what: "permissions" | "role" | "status" | "delete-user"; user: User };

interface Props {
  spec: UserSpec;
  onClose(): void;
}

/** Changes the user, and closes the dialog. */
function useChange({ spec: { user }, onClose }: Props) {
  const { api, say } = useSession();
  return async (change: UserChange, done: string) => {
    publish({ what: "user", user: await api.patch<User>(userPath(user.id), change) });
    onClose();
    say(`${userName(user)} ${done}`);
  };
}

export function Permissions({ spec: { user }, onClose }: Props) {
  return (
    <Dialog title={`Permissions of ${userName(user)}`} onClose={onClose}>
      <p>{ROLE_NAMES[user.role]}s can {ROLE_POWERS[user.role]}. A key of this user never has more than these permissions.</p>
      <ul class="permissions">
        {permissions(user).map(({ name, meaning }) => <li key={name}>{meaning} <code>{name}</code></li>)}
      </ul>
      <footer><button type="button" onClick={onClose}>Close</button></footer>
    </Dialog>
  );
}

export function ChangeRole(props: Props) {
  const { user } = props.spec;
  const change = useChange(props);
  const [{ role }, setFields] = useFields<{ role: UserRole }>(props.spec, () => ({ role: user.role }));
  return (
    <Confirm title={`Change role of ${userName(user)}`} action="Save" busy="Saving…" onConfirm={() => change({ role }, `is now ${ROLE_NAMES[role]}`)} onClose={props.onClose}>
      <WhichUser of={user} />
      <fieldset>
        <legend>Role</legend>
        {USER_ROLES.map((one) => (
          <label key={one} class="option">
            <input type="radio" name="role" checked={role === one} onChange={() => setFields({ role: one })} />
            <span><b>{ROLE_NAMES[one]}</b> can {ROLE_POWERS[one]}</span>
          </label>
        ))}
      </fieldset>
      <p class="hint">A lower role also limits existing keys immediately, because a key can never do more than its owner.</p>
    </Confirm>
  );
}

export function ChangeStatus(props: Props) {
  const { user } = props.spec;
  const change = useChange(props);
  const isActive = user.status === "active";
  const action = isActive ? "Deactivate" : "Reactivate";
  const status = isActive ? "inactive" : "active";
  return (
    <Confirm title={`${action} ${userName(user)}?`} action={action} busy={isActive ? "Deactivating…" : "Reactivating…"} isDestructive={isActive} onConfirm={() => change({ status }, isActive ? "is now deactivated" : "is now active")} onClose={props.onClose}>
      <WhichUser of={user} />
      <p>
        {isActive
          ? "All access keys of this user stop working immediately, and the user can no longer sign in. Reactivating the user reverses both. Onboarded clusters stay connected."
          : "The user can sign in again, and access keys that have neither expired nor been revoked work again."}
      </p>
    </Confirm>
  );
}

export function DeleteUser({ spec: { user }, onClose }: Props) {
  const { api, say } = useSession();
  const remove = async () => {
    await api.delete(userPath(user.id));
    publish({ what: "deleted-user", id: user.id });
    onClose();
    say(`${userName(user)} is deleted`);
  };
  return (
    <Confirm title={`Delete ${userName(user)}?`} action="Delete" busy="Deleting…" isDestructive onConfirm={remove} onClose={onClose}>
      <WhichUser of={user} />
      <p>The user can no longer sign in, and all access keys of this user are revoked immediately and permanently. Onboarded clusters stay connected.</p>
    </Confirm>
  );
}
