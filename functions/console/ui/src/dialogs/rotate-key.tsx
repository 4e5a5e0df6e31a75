// The dialog to rotate a key: the form, which says when the old and the new secret end, and then the new key.

import { useState } from "preact/hooks";
import { ApiError, type CreatedKey, type Key, type KeyRole, type Rotation, keyPath, message } from "../api";
import { publish } from "../changes";
import { Dialog, FormButtons, useRequest } from "../parts/dialog";
import { useFields } from "./draft";
import { type Expiration, ExpirationField, expirationError, expirationRequest, firstExpiration } from "../parts/expiration";
import { Field, useErrors } from "../parts/field";
import { NewKey, Warning, useNewKey } from "./new-key";
import { RoleField } from "../parts/role-field";
import { canOnboard, rolesWithin } from "../roles";
import { mayLeave, useGuard } from "../route";
import { useSession } from "../session";
import { WhichKey } from "../parts/standing";
import { Text } from "../parts/text";
import { Moment, fromInput, inSeconds } from "../parts/time";

const OVERLAPS = { 0: "None: the old secret stops working immediately", 3600: "1 hour", 86400: "1 day", 604800: "7 days" };
const DAY = 86_400;

export interface RotateKeySpec {
  what: "rotate-key";
  key: Key;
}

interface Fields {
  expiration: Expiration;
  role: KeyRole;
  clusters: string;
  overlap: string;
  selfRotate: boolean;
  /** Whether a response was lost, so that a new secret may exist that nobody has. */
  isLost: boolean;
  /** Without the same idempotency key, a repeated request would end the secret that is in use. */
  lastRequest: { body: string; idempotencyKey: string };
}

export function RotateKey({ spec, onClose }: { spec: RotateKeySpec; onClose(): void }) {
  const state = useNewKey(onClose);
  const title = `Rotate ${spec.key.name}`;
  if (!state.key) return <Form title={title} spec={spec} onRotated={state.setKey} onClose={onClose} />;
  const { superseded_until: until } = state.key;
  return (
    <Dialog title={title} onClose={state.close}>
      <NewKey created={state.key} state={state}>
        <p class="hint">{until && new Date(until) > new Date() ? <><span>The old secret works until </span><Moment at={new Date(until)} />.</> : "The old secret no longer works."}</p>
      </NewKey>
    </Dialog>
  );
}

function Form({ title, spec, onRotated, onClose }: { title: string; spec: RotateKeySpec; onRotated(key: CreatedKey): void; onClose(): void }) {
  const { api, me, limits, say } = useSession();
  const { key } = spec;
  const [fields, setFields] = useFields<Fields>(spec, () => ({
    expiration: firstExpiration(limits), role: key.effective_role ?? key.role, clusters: String(key.max_clusters), overlap: String(DAY), selfRotate: key.self_rotate,
    isLost: false, lastRequest: { body: "", idempotencyKey: "" },
  }));
  const { expiration, clusters, overlap, isLost, lastRequest } = fields;
  const roles = rolesWithin(me, key);
  const role = roles.includes(fields.role) ? fields.role : (roles[0] ?? key.role);
  const { form, errors, show, clear } = useErrors();
  const [isWarned, setWarned] = useState(false);
  const { isBusy, wait, error, send } = useRequest();
  useGuard(!isBusy && isLost, () => setWarned(true), "kept in the draft");
  const close = () => mayLeave() && onClose();
  const rotate = (event: Event) => {
    event.preventDefault();
    const invalid = expirationError(limits, expiration);
    if (show(invalid ? { expires_at: invalid } : {})) return;
    const request: Rotation = {
      role, max_clusters: Number(clusters), overlap_seconds: Number(overlap), self_rotate: fields.selfRotate, ...expirationRequest(expiration),
    };
    const body = JSON.stringify(request);
    const idempotencyKey = lastRequest.body === body ? lastRequest.idempotencyKey : crypto.randomUUID();
    setFields({ lastRequest: { body, idempotencyKey } });
    send(
      async () => {
        const rotated = await api.post<CreatedKey>(`${keyPath(key)}/rotate`, body, { "Idempotency-Key": idempotencyKey });
        const { access_key: _, ...record } = rotated;
        say(`The key ${key.name} is rotated`);
        publish({ what: "key", key: record });
        onRotated(rotated);
      },
      (failure) => {
        show(failure instanceof ApiError ? failure.fields : {});
        if (failure instanceof ApiError && failure.isUncertain) setFields({ isLost: true });
        return message(failure);
      },
    );
  };
  return (
    <Dialog title={title} onClose={close}>
      <form ref={form} onSubmit={rotate} noValidate>
        <WhichKey of={key} />
        <ExpirationField limits={limits} value={expiration} errors={errors} onChange={(expiration) => { setFields({ expiration }); clear("expires_at", "expires_in_days"); }} />
        <Field label="Overlap" error={errors.overlap_seconds} hint={<OldEnd of={key} overlap={Number(overlap)} expiration={expiration} />}>
          {(props) => (
            <select {...props} value={overlap} onChange={(e) => setFields({ overlap: e.currentTarget.value })}>
              {Object.entries(OVERLAPS).map(([seconds, label]) => <option key={seconds} value={seconds}>{label}</option>)}
            </select>
          )}
        </Field>
        {key.superseded_until && new Date(key.superseded_until) > new Date() && (
          <p class="notice warn">The overlap of the previous rotation has not ended. If you rotate now, the oldest secret stops working immediately.</p>
        )}
        <RoleField roles={roles} value={role} error={errors.role} onChange={(role) => setFields({ role })} />
        {canOnboard(role) && (
          <Field label="Maximum number of clusters" error={errors.max_clusters} hint={`At most ${key.max_clusters}, the current limit of the key.`}>
            {(props) => <input {...props} type="number" inputMode="numeric" min={1} max={key.max_clusters} value={clusters} onInput={(e) => { setFields({ clusters: e.currentTarget.value }); clear("max_clusters"); }} />}
          </Field>
        )}
        <label class="option">
          <input type="checkbox" checked={fields.selfRotate} onChange={(e) => setFields({ selfRotate: e.currentTarget.checked })} />
          <span>The holder of the key can rotate and extend it without signing in.</span>
        </label>
        {error && <p key={error} class="error" role="alert">{error}</p>}
        {isLost && <p class="notice warn">No response arrived. The key may have been rotated, but nobody has its new secret. Rotate again with the same values to get it; this does not rotate the key twice.</p>}
        {isWarned ? (
          <Warning
            text="The key may have been rotated, and nobody has its new secret. If you close this dialog and rotate the key again later, the secret that is in use may stop working immediately."
            back="Back"
            leave="Close"
            onBack={() => setWarned(false)}
            onLeave={onClose}
          />
        ) : (
          <FormButtons label={isBusy ? "Rotating…" : "Rotate"} isBusy={isBusy} wait={wait} onCancel={close} />
        )}
      </form>
    </Dialog>
  );
}

/** When the old secret ends: after the overlap, with its own expiry or with the new one, whichever comes first. */
function OldEnd({ of: key, overlap, expiration: { choice, at } }: { of: Key; overlap: number; expiration: Expiration }) {
  if (overlap === 0) return <Text of="Everything that uses the old secret stops working immediately." />;
  const next = choice === "custom" ? fromInput(at) : inSeconds(choice * DAY);
  const ends = [inSeconds(overlap), new Date(key.expires_at), ...(next ? [next] : [])].map((end) => end.getTime());
  return <><span>The old secret stops working on </span><Moment at={new Date(Math.min(...ends))} /><span>.</span></>;
}
