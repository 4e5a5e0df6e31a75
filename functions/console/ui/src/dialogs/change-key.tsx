// The dialog to change a key's name, labels, expiry and cluster limit.

import { ApiError, type Key, type KeyChange, keyPath, message } from "../api";
import { publish } from "../changes";
import { Dialog, FormButtons, useRequest } from "../parts/dialog";
import { useFields } from "./draft";
import { type Errors, Field, labelsOf, useErrors } from "../parts/field";
import { can, canOnboard } from "../roles";
import { mayLeave } from "../route";
import { useSession } from "../session";
import { WhichKey } from "../parts/standing";
import { count } from "../parts/text";
import { Moment, fromInput, toInput } from "../parts/time";

const LATE = "Choose a time between now and the current expiry. To extend a key, rotate it.";
const FIELDS = ["name", "labels", "expires_at", "max_clusters"];

export interface ChangeKeySpec {
  what: "change-key";
  key: Key;
}

export function ChangeKey({ spec, onClose }: { spec: ChangeKeySpec; onClose(): void }) {
  const { api, me, limits, say } = useSession();
  const { key } = spec;
  const expiry = toInput(new Date(key.expires_at));
  const labels = key.labels.join(", ");
  const clusters = String(key.max_clusters);
  const [fields, setFields] = useFields(spec, () => ({ name: key.name, labels, expiry, clusters }));
  const { form, errors, show, clear } = useErrors();
  const { isBusy, wait, error, send } = useRequest();
  const close = () => mayLeave() && onClose();
  const most = Math.min(key.signed_max_clusters, limits.max_clusters);
  const earlier = fields.expiry === expiry ? undefined : fromInput(fields.expiry);
  const late = fields.expiry !== expiry && !(earlier && earlier > new Date() && earlier < new Date(key.expires_at));
  const edit = (next: Partial<typeof fields>) => {
    setFields(next);
    clear(...FIELDS);
  };
  const save = (event: Event) => {
    event.preventDefault();
    const found: Errors = {};
    if (late) found.expires_at = LATE;
    // The deployment may allow less than the key has.
    if (fields.clusters !== clusters && !(/^\d+$/.test(fields.clusters) && Number(fields.clusters) >= 1 && Number(fields.clusters) <= most)) found.max_clusters = `Must be a whole number from 1 to ${most}.`;
    if (show(found)) return;
    const change: KeyChange = {
      ...(fields.name.trim() !== key.name && { name: fields.name.trim() }),
      ...(fields.labels !== labels && { labels: labelsOf(fields.labels) }),
      ...(earlier && { expires_at: earlier.toISOString() }),
      ...(fields.clusters !== clusters && { max_clusters: Number(fields.clusters) }),
    };
    if (Object.keys(change).length === 0) return onClose();
    send(
      async () => {
        publish({ what: "key", key: await api.patch<Key>(keyPath(key), change) });
        say(`The key ${fields.name.trim()} is changed`);
        onClose();
      },
      (failure) => {
        const named = failure instanceof ApiError ? failure.fields : {};
        return show(named) ? undefined : message(failure);
      },
    );
  };
  return (
    <Dialog title={`Change ${key.name}`} hasFocus onClose={close}>
      <form ref={form} onSubmit={save} noValidate>
        <WhichKey of={key} />
        <Field label="Name" isRequired error={errors.name}>
          {(props) => <input {...props} value={fields.name} autofocus autocomplete="off" onInput={(e) => edit({ name: e.currentTarget.value })} />}
        </Field>
        <Field label="Labels" error={errors.labels} hint="Up to 10, separated by commas.">
          {(props) => <input {...props} value={fields.labels} autocomplete="off" onInput={(e) => edit({ labels: e.currentTarget.value })} />}
        </Field>
        <Field
          label="Expires at (UTC)"
          error={errors.expires_at ?? (late ? LATE : undefined)}
          hint={earlier ? <><span>All secrets of the key stop working on </span><Moment at={earlier} />{key.self_rotate && <span> The holder can no longer rotate the key.</span>}</> : "The expiry can only become earlier. To extend a key, rotate it."}
        >
          {(props) => <input {...props} type="datetime-local" value={fields.expiry} min={toInput(new Date())} max={expiry} onInput={(e) => edit({ expiry: e.currentTarget.value })} />}
        </Field>
        {can(me, "access-keys:manage") && canOnboard(key.role) && (
          <Field
            label="Maximum number of clusters"
            error={errors.max_clusters}
            hint={`At most ${most}, the limit ${most === key.signed_max_clusters ? "signed into the key" : "of this deployment"}. ${count(key.clusters_used, "cluster")} onboarded with the key will stay connected.`}
          >
            {(props) => <input {...props} type="number" inputMode="numeric" min={1} max={most} value={fields.clusters} onInput={(e) => edit({ clusters: e.currentTarget.value })} />}
          </Field>
        )}
        {error && <p key={error} class="error" role="alert">{error}</p>}
        <FormButtons label={isBusy ? "Saving…" : "Save"} isBusy={isBusy} wait={wait} disabled={fields.name.trim() === ""} onCancel={close} />
      </form>
    </Dialog>
  );
}
