// The dialog "Found a key?": shows who owns a key, and revokes it. The key is sent only to validate and to revoke.

import { useState } from "preact/hooks";
import { type Verdict, message, revokePresentedKey, validateKey } from "../api";
import { publish } from "../changes";
import { Dialog, SubmitButton, useRequest } from "../parts/dialog";
import { claims } from "../jwt";
import { Field } from "../parts/field";
import { ROLE_NAMES, can } from "../roles";
import { keyHref, mayLeave } from "../route";
import { useSession } from "../session";
import { Status } from "../parts/table";
import { Time } from "../parts/time";

export interface FoundKeySpec {
  what: "found-key";
}

const REFUSED: Record<string, string> = {
  invalid: "This is not a working key. If you pasted only part of a key, paste all of it: the complete key may still work.",
  expired: "This key has expired. Nobody can use it.",
  superseded: "A rotation has replaced this secret, and it no longer works. The key may still work with its new secret.",
  revoked: "This key is already revoked. Nobody can use it.",
  owner_inactive: "The owner of this key is deactivated or deleted. If a deactivated owner is reactivated, the key may work again.",
  forbidden: "This key is valid, but it belongs to another tenant, or its owner's role excludes the role of the key.",
};

/** The claims that say whose key it is. The service has verified the signature, unless it answers `invalid`. */
interface Owner {
  sub: string;
  jti: string;
  "tenant-id": string;
}

/** A key that the service has checked. */
interface Checked {
  key: string;
  verdict: Verdict;
}

export function FoundKey({ onClose }: { onClose(): void }) {
  const { me, say } = useSession();
  const [pasted, setPasted] = useState("");
  const [checked, setChecked] = useState<Checked>();
  const { isBusy, wait, error, send } = useRequest();
  const close = () => mayLeave() && onClose();
  const key = pasted.trim();
  const look = (event: Event) => {
    event.preventDefault();
    send(async () => setChecked({ key, verdict: await validateKey(key, me.tenant_id) }), message);
  };
  const revoke = (key: string) => send(async () => {
    await revokePresentedKey(key);
    setChecked({ key, verdict: { active: false, code: "revoked", checked_at: 0 } });
    const owner = claims<Owner>(key);
    if (owner?.["tenant-id"] === me.tenant_id) publish({ what: "keys-of", userId: owner.sub });
    say("The key is revoked");
  });
  const mayBeLive = checked && (checked.verdict.active || ["owner_inactive", "forbidden"].includes(checked.verdict.code));
  return (
    <Dialog title="Found a key?" hasFocus onClose={close}>
      <form onSubmit={look} noValidate>
        <Field label="Access key" isRequired hint="Paste a key that was found somewhere. It is sent only to be validated and, if you revoke it, to be revoked.">
          {(props) => (
            <input
              {...props}
              class="secret masked"
              value={pasted}
              readOnly={isBusy}
              autofocus
              autocomplete="off"
              spellcheck={false}
              translate={false}
              required
              onInput={(e) => {
                setPasted(e.currentTarget.value);
                setChecked(undefined);
              }}
            />
          )}
        </Field>
        <div role="status">{checked && <Result of={checked} onLeave={() => isBusy || onClose()} />}</div>
        {error && <p key={error} class="error" role="alert">{error}</p>}
        <footer>
          <button type="button" aria-disabled={isBusy} onClick={close}>Close</button>
          {mayBeLive && <button type="button" class="danger" aria-disabled={isBusy || wait > 0} onClick={() => revoke(checked.key)}>Revoke it</button>}
          <SubmitButton label={isBusy ? "Checking…" : "Check"} isBusy={isBusy} wait={wait} disabled={key === ""} />
        </footer>
      </form>
    </Dialog>
  );
}

function Result({ of: { key, verdict }, onLeave }: { of: Checked; onLeave(): void }) {
  const { me } = useSession();
  const owner = verdict.active || verdict.code !== "invalid" ? claims<Owner>(key) : undefined;
  const mayShow = owner && owner["tenant-id"] === me.tenant_id && (owner.sub === me.id || can(me, "access-keys:manage"));
  const time = (seconds: number) => <Time at={new Date(seconds * 1000).toISOString()} />;
  return (
    <>
      {!verdict.active && <p key={verdict.code}>{REFUSED[verdict.code] ?? verdict.code}</p>}
      {verdict.active && (verdict.superseded_until
        ? <p><Status of="Active" tone="good" /> <span>A rotation has replaced this secret. It works until </span>{time(verdict.superseded_until)}.</p>
        : <p><Status of="Active" tone="good" /> <span>It works until </span>{time(verdict.exp)}.</p>)}
      {owner && (
        <dl class="which">
          <div><dt>Owner</dt><dd>{owner.sub}</dd></div>
          <div><dt>Tenant</dt><dd>{owner["tenant-id"]}</dd></div>
          <div><dt>Id</dt><dd><code translate={false}>{owner.jti}</code></dd></div>
          {verdict.active && <div><dt>Role</dt><dd>{ROLE_NAMES[verdict.role]}</dd></div>}
        </dl>
      )}
      {mayShow && <p><a href={keyHref({ user_id: owner.sub, id: owner.jti })} onClick={onLeave}>Show details of this key</a></p>}
    </>
  );
}
