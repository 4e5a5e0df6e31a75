// The dialog "Found a key?": says whose a key is, and revokes it. The key is sent only to validate and to revoke.

import { useState } from "preact/hooks";
import { type Verdict, revokePresentedKey, validateKey } from "../api";
import { Dialog, SubmitButton, useRequest } from "../parts/dialog";
import { Field } from "../parts/field";
import { ROLE_NAMES, can } from "../roles";
import { keyHref } from "../route";
import { useSession } from "../session";
import { Status } from "../parts/table";
import { Time } from "../parts/time";

export interface FoundKeySpec {
  what: "found-key";
}

const REFUSED: Record<string, string> = {
  invalid: "This is not a key of this service, it is incomplete, or it is an old secret of a key that was rotated. Nobody can use it.",
  expired: "This key has expired. Nobody can use it.",
  superseded: "This key was rotated, and this secret no longer works. The new secret does.",
  revoked: "This key is revoked already. Nobody can use it.",
  owner_inactive: "The owner of this key is deactivated, so it does not work at present. It works again if the owner is reactivated.",
  forbidden: "This key works, but it belongs to another tenant or has no permissions left.",
};

interface Owner {
  sub: string;
  jti: string;
  "tenant-id": string;
}

/** The claims of a key whose signature the service has verified. */
function claims(accessKey: string): Owner | undefined {
  try {
    return JSON.parse(atob((accessKey.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/"))) as Owner;
  } catch {
    return undefined;
  }
}

export function FoundKey({ onClose }: { onClose(): void }) {
  const { me, say } = useSession();
  const [pasted, setPasted] = useState("");
  const [verdict, setVerdict] = useState<Verdict>();
  const { isBusy, wait, error, send, refuse } = useRequest();
  const close = isBusy ? refuse : onClose;
  const key = pasted.trim();
  const look = (event: Event) => {
    event.preventDefault();
    send(async () => setVerdict(await validateKey(key, me.tenant_id)));
  };
  const revoke = () => send(async () => {
    await revokePresentedKey(key);
    setVerdict({ active: false, code: "revoked", checked_at: 0 });
    say("The key is revoked");
  });
  const owner = verdict && (verdict.active || verdict.code !== "invalid") ? claims(key) : undefined;
  const mayBeLive = verdict && (verdict.active || verdict.code === "owner_inactive" || verdict.code === "forbidden");
  return (
    <Dialog title="Found a key?" hasFocus onClose={close}>
      <form onSubmit={look} noValidate>
        <Field label="Access key" isRequired hint="Paste a key that was found somewhere. It is sent only to be validated and, if you revoke it, to be revoked.">
          {(props) => (
            <input {...props} class="secret" type="password" value={pasted} autofocus autocomplete="off" spellcheck={false} required onInput={(e) => { setPasted(e.currentTarget.value); setVerdict(undefined); }} />
          )}
        </Field>
        {verdict && (
          <section aria-label="Result" role="status">
            {verdict.active ? <Status of="Active" tone="good" /> : <p key={verdict.code}>{REFUSED[verdict.code] ?? verdict.code}</p>}
            {owner && (
              <dl class="which">
                <div><dt>Owner</dt><dd>{owner.sub}</dd></div>
                <div><dt>Tenant</dt><dd>{owner["tenant-id"]}</dd></div>
                <div><dt>Id</dt><dd><code translate={false}>{owner.jti}</code></dd></div>
                {verdict.active && <div><dt>Role</dt><dd>{ROLE_NAMES[verdict.role]}</dd></div>}
                {verdict.active && <div><dt>Expires</dt><dd><Time at={new Date(verdict.exp * 1000).toISOString()} /></dd></div>}
              </dl>
            )}
            {owner && owner["tenant-id"] === me.tenant_id && (owner.sub === me.id || can(me, "access-keys:manage")) && (
              <p><a href={keyHref({ user_id: owner.sub, id: owner.jti })} onClick={onClose}>Show everything about this key</a></p>
            )}
          </section>
        )}
        {error && <p key={error} class="error" role="alert">{error}</p>}
        <footer>
          <button type="button" aria-disabled={isBusy} onClick={close}>Close</button>
          {mayBeLive && <button type="button" class="danger" aria-disabled={isBusy} onClick={revoke}>Revoke it</button>}
          <SubmitButton label={isBusy ? "Checking…" : "Check"} isBusy={isBusy} wait={wait} disabled={key === ""} />
        </footer>
      </form>
    </Dialog>
  );
}
