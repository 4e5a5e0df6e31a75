// The dialogs that revoke: one key, or all keys of a user.

import { type Key, type User, keyPath, keysPath } from "../api";
import { publish } from "../changes";
import { Confirm } from "../parts/dialog";
import { useFields } from "./draft";
import { Field } from "../parts/field";
import { WhichUser, userName } from "../parts/person";
import { ROLE_POWERS } from "../roles";
import { useSession } from "../session";
import { WhichKey } from "../parts/standing";
import { count } from "../parts/text";
import { Time } from "../parts/time";

export type RevokeSpec = { what: "revoke-key"; key: Key } | { what: "revoke-all"; user: User };

const withReason = (path: string, reason: string) => (reason.trim() ? `${path}?reason=${encodeURIComponent(reason.trim())}` : path);

function Reason({ value, onInput }: { value: string; onInput(value: string): void }) {
  return (
    <Field label="Reason (optional)" hint="Recorded in the audit trail. Do not enter a key.">
      {(props) => <input {...props} value={value} maxLength={200} autocomplete="off" onInput={(e) => onInput(e.currentTarget.value)} />}
    </Field>
  );
}

export function RevokeKey({ spec, onClose }: { spec: { what: "revoke-key"; key: Key }; onClose(): void }) {
  const { api, say } = useSession();
  const { key } = spec;
  const [{ reason }, setFields] = useFields(spec, () => ({ reason: "" }));
  const revoke = async () => {
    await api.delete(withReason(keyPath(key), reason));
    publish({ what: "key", key: { ...key, status: "revoked" } });
    onClose();
    say(`The key ${key.name} is revoked`);
  };
  return (
    <Confirm title={`Revoke ${key.name}?`} action="Revoke" busy="Revoking…" isDestructive onConfirm={revoke} onClose={onClose}>
      <WhichKey of={key} />
      <p>Everything that uses this key stops working immediately. The key can {ROLE_POWERS[key.effective_role ?? key.role]}.</p>
      <p>Last used: <Time at={key.last_used_at} none="never" />.</p>
      <p>{key.clusters_used > 0 && `${count(key.clusters_used, "cluster")} onboarded with it will stay connected. `}This cannot be undone.</p>
      <Reason value={reason} onInput={(reason) => setFields({ reason })} />
    </Confirm>
  );
}

export function RevokeAll({ spec, onClose }: { spec: { what: "revoke-all"; user: User }; onClose(): void }) {
  const { api, say } = useSession();
  const { user } = spec;
  const [{ reason }, setFields] = useFields(spec, () => ({ reason: "" }));
  const revoke = async () => {
    await api.delete(withReason(keysPath(user.id), reason));
    publish({ what: "keys-of", userId: user.id });
    onClose();
    say(`All keys of ${userName(user)} are revoked`);
  };
  return (
    <Confirm title={`Revoke all keys of ${userName(user)}?`} action="Revoke all" busy="Revoking…" isDestructive onConfirm={revoke} onClose={onClose}>
      <WhichUser of={user} />
      <p>All access keys that this user has now stop working immediately. An active user can still sign in and create new keys. This cannot be undone.</p>
      <Reason value={reason} onInput={(reason) => setFields({ reason })} />
    </Confirm>
  );
}
