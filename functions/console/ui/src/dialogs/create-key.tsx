// The dialog "Create Access Key": the form, and then the new key.

import { useState } from "preact/hooks";
import { ApiError, type CreatedKey, type Key, type KeyRole, type NewKey as NewKeyRequest, type Page, type User, keyPath, keysPath, message } from "../api";
import { publish } from "../changes";
import { CopyButton } from "../parts/copy";
import { Dialog, FormButtons, useRequest } from "../parts/dialog";
import { useFields } from "./draft";
import { type Expiration, ExpirationField, expirationError, expirationRequest, firstExpiration } from "../parts/expiration";
import { type Errors, Field, labelsOf, useErrors } from "../parts/field";
import { Fold } from "../parts/fold";
import { NewKey, Warning, useNewKey } from "./new-key";
import { PersonPicker, userTitle } from "../parts/person";
import { RoleField } from "../parts/role-field";
import { can, canOnboard, keyRoles } from "../roles";
import { mayLeave, useGuard } from "../route";
import { useSession } from "../session";
import { WhichKey, shortId } from "../parts/standing";

const LONGEST_NAME = 64;
const FIELDS = ["name", "role", "expires_at", "expires_in_days", "max_clusters", "labels"];

export interface CreateKeySpec {
  what: "create-key";
  /** The owner of the key. Undefined if an administrator chooses one. */
  owner: User | undefined;
}

interface Fields {
  /** Null after an administrator has typed a name, until they choose a person. */
  owner: User | null;
  name: string;
  expiration: Expiration;
  role: KeyRole;
  clusters: string;
  labels: string;
  selfRotate: boolean;
  lost: Lost | null;
  /** If a response was lost, repeating the same request must not create a second key. */
  lastRequest: { body: string; idempotencyKey: string };
}

/** A request whose response was lost, so that a key may exist that nobody has. */
interface Lost {
  owner: User;
  name: string;
}

/** The ids of the keys that this page has received. None of them is the lost key. */
const received = new Set<string>();

export function CreateKey({ spec, onClose }: { spec: CreateKeySpec; onClose(): void }) {
  const state = useNewKey(onClose);
  return state.key ? (
    <Dialog title="Create Access Key" onClose={state.close}><NewKey created={state.key} state={state} /></Dialog>
  ) : (
    <Form spec={spec} onCreated={state.setKey} onClose={onClose} />
  );
}

function Form({ spec, onCreated, onClose }: { spec: CreateKeySpec; onCreated(key: CreatedKey): void; onClose(): void }) {
  const { api, me, limits, say } = useSession();
  const [fields, setFields] = useFields<Fields>(spec, () => ({
    owner: spec.owner ?? me, name: "", expiration: firstExpiration(limits), role: "viewer", clusters: "1", labels: "", selfRotate: false, lost: null,
    lastRequest: { body: "", idempotencyKey: "" },
  }));
  const { owner, name, expiration, clusters, lost, lastRequest } = fields;
  const roles = keyRoles(me, owner ?? me);
  const role = roles.includes(fields.role) ? fields.role : (roles[0] ?? "viewer");
  const { form, errors, show, clear } = useErrors();
  const [isWarned, setWarned] = useState(false);
  const { isBusy, wait, error, send } = useRequest();
  useGuard(!isBusy && lost !== null, () => setWarned(true), "kept in the draft");
  const close = () => mayLeave() && onClose();

  const change = (next: Partial<Fields>, ...fixed: string[]) => {
    setFields(next);
    clear(...fixed);
  };
  const generate = (event: Event) => {
    event.preventDefault();
    const found = check({ ...fields, role }, limits.max_clusters, expirationError(limits, expiration));
    if (show(found) || !owner) return;
    const body = JSON.stringify(request({ ...fields, role }));
    // With other values, the request could create a second key.
    if (lost && lastRequest.body !== body) return setWarned(true);
    const idempotencyKey = lastRequest.body === body ? lastRequest.idempotencyKey : crypto.randomUUID();
    setFields({ lastRequest: { body, idempotencyKey } });
    send(
      async () => {
        const created = await api.post<CreatedKey>(keysPath(owner.id), body, { "Idempotency-Key": idempotencyKey });
        const { access_key: _, ...key } = created;
        received.add(key.id);
        say("Access Token associated successfully");
        publish({ what: "new-key", key });
        onCreated(created);
      },
      (failure) => {
        if (failure instanceof ApiError && failure.isUncertain) setFields({ lost: lost ?? { owner, name: name.trim() } });
        const named = failure instanceof ApiError ? failure.fields : {};
        return show(named) && Object.keys(named).every((field) => FIELDS.includes(field)) ? undefined : message(failure);
      },
    );
  };

  const resolve = (isRevoked: boolean) => {
    // The same idempotency key would return the revoked key.
    setFields({ lost: null, ...(isRevoked && { lastRequest: { body: "", idempotencyKey: "" } }) });
    setWarned(false);
    form.current?.querySelector<HTMLElement>("footer [type=submit]")?.focus();
  };

  return (
    <Dialog title="Create Access Key" hasFocus onClose={close}>
      <form ref={form} onSubmit={generate} noValidate>
        {spec.owner || !can(me, "access-keys:manage") ? (
          <p class="hint">For {userTitle(owner ?? me)}</p>
        ) : (
          <Field label="Owner" isRequired error={errors.owner} hint="The key can never do more than its owner.">
            {(props) => <PersonPicker {...props} text={owner ? userTitle(owner) : ""} onPick={(user) => change({ owner: user ?? null }, "owner")} />}
          </Field>
        )}
        <Field label="Name" isRequired error={errors.name}>
          {(props) => <input {...props} value={name} onInput={(e) => change({ name: e.currentTarget.value }, "name")} autocomplete="off" autofocus required />}
        </Field>
        <ExpirationField limits={limits} value={expiration} errors={errors} onChange={(expiration) => change({ expiration }, "expires_at", "expires_in_days")} />
        <RoleField roles={roles} value={role} error={errors.role} onChange={(role) => change({ role }, "role")} />
        <div class="pair">
          <Field label="Tenant Id">
            {(props) => <span class="with-button"><input {...props} value={me.tenant_id} readOnly /><CopyButton text={me.tenant_id} what="Tenant Id" /></span>}
          </Field>
          <Field label="Maximum number of clusters" error={errors.max_clusters} hint={canOnboard(role) ? `1 to ${limits.max_clusters}` : "This role cannot onboard clusters."}>
            {(props) => (
              <input {...props} type="number" inputMode="numeric" min={1} max={limits.max_clusters} disabled={!canOnboard(role)} value={clusters} onInput={(e) => change({ clusters: e.currentTarget.value }, "max_clusters")} />
            )}
          </Field>
        </div>
        <More fields={fields} errors={errors} onChange={change} />
        {error && <p key={error} class="error" role="alert">{error}</p>}
        {lost && <LostKey lost={lost} onResolved={resolve} />}
        {isWarned ? (
          <Warning
            text={`A key named “${lost?.name}” may exist, and nobody has it. Check above whether it exists.`}
            back="Back"
            leave="Close"
            onBack={() => setWarned(false)}
            onLeave={onClose}
          />
        ) : (
          <FormButtons label={isBusy ? "Generating…" : "Generate"} isBusy={isBusy} wait={wait} disabled={name.trim() === ""} onCancel={close} />
        )}
      </form>
    </Dialog>
  );
}

function More({ fields, errors, onChange }: { fields: Fields; errors: Errors; onChange(next: Partial<Fields>, ...fixed: string[]): void }) {
  return (
    <Fold summary="More options" isOpen={fields.labels !== "" || fields.selfRotate}>
      <Field label="Labels" error={errors.labels} hint="Up to 10, separated by commas. Lists can be filtered by label.">
        {(props) => <input {...props} value={fields.labels} autocomplete="off" onInput={(e) => onChange({ labels: e.currentTarget.value }, "labels")} />}
      </Field>
      <label class="option">
        <input type="checkbox" checked={fields.selfRotate} onChange={(e) => onChange({ selfRotate: e.currentTarget.checked })} />
        <span>The holder of the key can rotate and extend it without signing in.</span>
      </label>
    </Fold>
  );
}

function check({ owner, name, role, clusters, labels }: Fields, mostClusters: number, expiration: string | undefined): Errors {
  const found: Errors = {};
  if (!owner) found.owner = "Choose a person from the list.";
  if ([...name.trim()].length > LONGEST_NAME) found.name = `Must have at most ${LONGEST_NAME} characters.`;
  if (expiration) found.expires_at = expiration;
  if (canOnboard(role) && !(/^\d+$/.test(clusters) && Number(clusters) >= 1 && Number(clusters) <= mostClusters)) {
    found.max_clusters = `Must be a whole number from 1 to ${mostClusters}.`;
  }
  if (labelsOf(labels).length > 10) found.labels = "Enter at most 10 labels.";
  return found;
}

function request({ name, expiration, role, clusters, labels, selfRotate }: Fields): NewKeyRequest {
  return {
    name: name.trim(),
    role,
    ...expirationRequest(expiration),
    ...(canOnboard(role) && { max_clusters: Number(clusters) }),
    ...(labelsOf(labels).length > 0 && { labels: labelsOf(labels) }),
    ...(selfRotate && { self_rotate: true }),
  };
}

/** After a lost response: says that a key may exist, finds it, and revokes it. */
function LostKey({ lost: { owner, name }, onResolved }: { lost: Lost; onResolved(isRevoked: boolean): void }) {
  const { api, me, say } = useSession();
  const [found, setFound] = useState<Key[]>();
  const { isBusy, wait, error, send } = useRequest();
  const isBlocked = isBusy || wait > 0;
  const look = () => send(async () => {
    const page = await api.get<Page<Key>>(`${keysPath(owner.id)}?status=active&limit=100`);
    const isIt = (key: Key) => !received.has(key.id) && key.name === name && key.created_by.id === me.id && !key.last_used_at;
    const keys = page.items.filter(isIt);
    setFound(keys);
    if (keys.length === 0) say("No such key exists");
  }, message);
  const revoke = (key: Key) => send(async () => {
    await api.delete(`${keyPath(key)}?reason=${encodeURIComponent("the response that contained its secret was lost")}`);
    publish({ what: "key", key: { ...key, status: "revoked" } });
    say(`The key ${name} is revoked`);
    onResolved(true);
  });
  return (
    <section class="notice column" aria-label="The response was lost">
      <p>No response arrived. The key <b>{name}</b> may exist, but nobody has it. Generate again to get it; this does not create a second key. If you no longer need it, check whether it exists and revoke it.</p>
      {found?.map((key) => (
        <div key={key.id}>
          <WhichKey of={key} />
          <button type="button" class="destructive" aria-disabled={isBlocked} aria-description={shortId(key)} onClick={() => revoke(key)}>Revoke it</button>
        </div>
      ))}
      {found?.length === 0 && <p role="status">No such key exists.</p>}
      {error && <p class="error" role="alert">{error}</p>}
      <div class="buttons">
        {!found?.length && <button key="look" type="button" aria-disabled={isBlocked} onClick={look}>Check whether it exists</button>}
        {found?.length === 0 && <button key="done" type="button" onClick={() => onResolved(false)}>Continue</button>}
      </div>
    </section>
  );
}
