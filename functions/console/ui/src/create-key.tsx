// The dialog "Create Access Key": the form, and then the new key, which is shown only once.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { ApiError, type CreatedKey, type KeyRole, type NewKey, type User, keysPath, message } from "./api";
import { Command, CopyButton, copied } from "./copy";
import { Dialog } from "./dialog";
import { Icon } from "./icons";
import { ROLE_NAMES, ROLE_POWERS, canOnboard, keyRoles } from "./roles";
import { useSession } from "./session";
import { Day, endOfDay, inDays, isoDay } from "./time";

const LONGEST_NAME = 64;
const MOST_CLUSTERS = 100;
const LONGEST_DAYS = 365;
const ONCE = "This access key will only be shown once. Copy it now and store it in a safe, secure location.";

interface Props {
  owner: User;
  onCreated(): void;
  onClose(): void;
}

export function CreateKey({ owner, onCreated, onClose }: Props) {
  const [key, setKey] = useState<CreatedKey>();
  const [isKept, setKept] = useState(false);
  const [isWarned, setWarned] = useState(false);
  const [isBusy, setBusy] = useState(false);
  // Closing the dialog before the response arrives could leave behind a key that nobody has.
  const canBeLost = isBusy || (key !== undefined && !isKept);
  const close = () => {
    if (!canBeLost) onClose();
    else if (!isBusy) setWarned(true);
  };
  useEffect(() => {
    if (!canBeLost) return;
    const warn = (event: Event) => event.preventDefault();
    addEventListener("beforeunload", warn);
    return () => removeEventListener("beforeunload", warn);
  }, [canBeLost]);
  return (
    <Dialog title="Create Access Key" onClose={close}>
      {!key && (
        <Form
          owner={owner}
          isBusy={isBusy}
          setBusy={setBusy}
          onCreated={(created) => {
            setKey(created);
            onCreated();
          }}
          onClose={close}
        />
      )}
      {key && (
        <Result
          created={key}
          onKept={() => {
            setKept(true);
            setWarned(false);
          }}
          warning={isWarned && (
            <div class="warning" role="alert">
              <p>You have not copied the key. Once this is closed, nobody can show it again.</p>
              <button type="button" onClick={() => setWarned(false)}>Back to the key</button>
              <button type="button" class="danger" onClick={onClose}>Close without the key</button>
            </div>
          )}
          onClose={close}
        />
      )}
    </Dialog>
  );
}

type Expiration = 7 | 15 | 30 | "custom";
const EXPIRATIONS: Expiration[] = [7, 15, 30, "custom"];

interface FormProps {
  owner: User;
  isBusy: boolean;
  setBusy(isBusy: boolean): void;
  onCreated(key: CreatedKey): void;
  onClose(): void;
}

function Form({ owner, isBusy, setBusy, onCreated, onClose }: FormProps) {
  const { api, me, say } = useSession();
  const roles = keyRoles(me, owner);
  const [name, setName] = useState("");
  const [expiration, setExpiration] = useState<Expiration>(30);
  const [day, setDay] = useState("");
  const [role, setRole] = useState<KeyRole>(roles[0] ?? "viewer");
  const [clusters, setClusters] = useState("1");
  const [errors, setErrors] = useState<Record<string, string>>({});
  // If a response was lost, repeating the same request must not create a second key.
  const lastRequest = useRef({ body: "", idempotencyKey: "" });

  const [earliest, latest] = [isoDay(inDays(1)), isoDay(inDays(LONGEST_DAYS - 1))];
  const expiry = expiration === "custom" ? endOfDay(day) : inDays(expiration);

  const validate = () => {
    const found: Record<string, string> = {};
    if ([...name.trim()].length > LONGEST_NAME) found.name = `Must have at most ${LONGEST_NAME} characters.`;
    if (expiration === "custom" && !(day >= earliest && day <= latest)) {
      found.expires_at = `Choose a day from ${earliest} to ${latest}.`;
    }
    if (!/^\d+$/.test(clusters) || Number(clusters) < 1 || Number(clusters) > MOST_CLUSTERS) {
      found.max_clusters = `Must be a whole number from 1 to ${MOST_CLUSTERS}.`;
    }
    return found;
  };

  const generate = async (event: Event) => {
    event.preventDefault();
    if (isBusy) return;
    const found = validate();
    setErrors(found);
    if (Object.keys(found).length > 0) return;
    const request: NewKey = {
      name: name.trim(),
      role,
      max_clusters: Number(clusters),
      ...(expiration === "custom" ? { expires_at: expiry?.toISOString() } : { expires_in_days: expiration }),
    };
    const body = JSON.stringify(request);
    if (lastRequest.current.body !== body) {
      lastRequest.current = { body, idempotencyKey: crypto.randomUUID() };
    }
    setBusy(true);
    try {
      const headers = { "Idempotency-Key": lastRequest.current.idempotencyKey };
      const created = await api.post<CreatedKey>(keysPath(owner.id), body, headers);
      say("Access Token associated successfully");
      onCreated(created);
    } catch (failure) {
      const fields = failure instanceof ApiError ? failure.fields : {};
      const isBesideFields = Object.keys(fields).length > 0 && Object.keys(fields).every((field) => FIELDS.includes(field));
      setErrors(isBesideFields ? fields : { ...fields, form: message(failure) });
    } finally {
      setBusy(false);
    }
  };

  return (
    <form onSubmit={generate} noValidate>
      <p class="hint">For {owner.name ?? owner.id}{owner.email && `, ${owner.email}`}</p>
      <Field label="Name" isRequired error={errors.name}>
        {(props) => <input {...props} value={name} onInput={(e) => setName(e.currentTarget.value)} autocomplete="off" autofocus required />}
      </Field>
      <p class="notice"><Icon name="key" /> {ONCE}</p>
      <fieldset>
        <legend>Expiration <Required /></legend>
        <div class="choices">
          {EXPIRATIONS.map((choice) => (
            <label key={choice}>
              <input type="radio" name="expiration" checked={expiration === choice} onChange={() => setExpiration(choice)} />
              <span>{choice === "custom" ? "Custom" : `${choice} Days`}</span>
            </label>
          ))}
        </div>
        {errors.expires_in_days && <p class="error" role="alert">{errors.expires_in_days}</p>}
        {expiration === "custom" && (
          <Field label="Last day (UTC)" isRequired error={errors.expires_at}>
            {(props) => <input {...props} type="date" value={day} min={earliest} max={latest} onInput={(e) => setDay(e.currentTarget.value)} required />}
          </Field>
        )}
        <p class="hint" aria-live="polite">{expiry ? <>This key will expire on <Day at={expiry} />.</> : "Choose the last day of the key."}</p>
      </fieldset>
      <Field label="Role" isRequired error={errors.role} hint={`A key of this role can ${ROLE_POWERS[role]}.`}>
        {(props) => (
          <select {...props} value={role} onChange={(e) => setRole(e.currentTarget.value as KeyRole)}>
            {roles.map((one) => <option key={one} value={one}>{ROLE_NAMES[one]}</option>)}
          </select>
        )}
      </Field>
      <div class="pair">
        <Field label="Tenant Id">
          {(props) => <span class="with-button"><input {...props} value={owner.tenant_id} readOnly /><CopyButton text={owner.tenant_id} what="Tenant Id" /></span>}
        </Field>
        <Field label="Maximum number of clusters" error={errors.max_clusters}>
          {(props) => <input {...props} type="number" min={1} max={MOST_CLUSTERS} value={clusters} onInput={(e) => setClusters(e.currentTarget.value)} />}
        </Field>
      </div>
      {errors.form && <p class="error" role="alert">{errors.form}</p>}
      <footer>
        <button type="button" aria-disabled={isBusy} onClick={onClose}>Cancel</button>
        <button type="submit" class="primary" aria-disabled={isBusy} disabled={name.trim() === ""}>{isBusy ? "Generating…" : "Generate"}</button>
      </footer>
    </form>
  );
}

const FIELDS = ["name", "role", "expires_at", "expires_in_days", "max_clusters"];

function Required() {
  return <span class="required" aria-hidden="true">*</span>;
}

interface FieldProps {
  label: string;
  isRequired?: boolean;
  error?: string | undefined;
  hint?: string;
  children(props: { id: string; "aria-describedby": string; "aria-invalid": boolean }): ComponentChildren;
}

/** An input with its label, and its error or a hint. */
function Field({ label, isRequired, error, hint, children }: FieldProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label} {isRequired && <Required />}</label>
      {children({ id, "aria-describedby": `${id}-note`, "aria-invalid": error !== undefined })}
      <p id={`${id}-note`} class={error ? "error" : "hint"} aria-live="polite">{error ?? hint}</p>
    </div>
  );
}

/** Shown instead of a hidden key, so that the document does not contain the key. */
const MASK = "•".repeat(40);

interface ResultProps {
  created: CreatedKey;
  warning: ComponentChildren;
  onKept(): void;
  onClose(): void;
}

function Result({ created, warning, onKept, onClose }: ResultProps) {
  const { say } = useSession();
  const id = useId();
  const input = useRef<HTMLInputElement>(null);
  const copyButton = useRef<HTMLButtonElement>(null);
  const [isShown, setShown] = useState(false);
  useEffect(() => copyButton.current?.focus(), []);
  useEffect(() => {
    if (isShown) input.current?.select();
  }, [isShown]);
  const copy = async () => {
    if (await copied(created.access_key)) {
      onKept();
      say("Token copied to clipboard");
    } else {
      setShown(true);
      input.current?.focus();
      say("The browser does not allow copying: the key is selected, copy it by hand");
    }
  };
  return (
    <div class="result">
      <p class="notice"><Icon name="key" /> {ONCE}</p>
      <div class="field">
        <label for={id}>Access Key</label>
        <span class="with-button">
          <input
            ref={input}
            id={id}
            class="secret"
            value={isShown ? created.access_key : MASK}
            readOnly
            autocomplete="off"
            spellcheck={false}
            onCopy={({ currentTarget: { selectionStart, selectionEnd } }) => {
              if (isShown && selectionEnd! - selectionStart! === created.access_key.length) onKept();
            }}
          />
          <button type="button" class="quiet" aria-pressed={isShown} aria-label="Show the key" onClick={() => setShown(!isShown)}>
            <Icon name={isShown ? "hidden" : "eye"} />
          </button>
        </span>
      </div>
      <dl>
        <div><dt>Name</dt><dd>{created.name}</dd></div>
        <div><dt>Role</dt><dd>{ROLE_NAMES[created.role]}</dd></div>
        <div><dt>Expires</dt><dd><Day at={new Date(created.expires_at)} /></dd></div>
        <div><dt>Clusters</dt><dd>{created.max_clusters}</dd></div>
      </dl>
      <Command title="Read the key past the shell's history: run this, paste the key, press Enter" text="read -rs ACCESS_KEY" />
      <Command title="Check it" text={`curl -X POST "${location.origin}/v1/access-keys/validate" -H "Authorization: Bearer $ACCESS_KEY"`} />
      {canOnboard(created.role) && <Command title="Onboard a cluster" text={onboarding()} />}
      {warning}
      <footer>
        <button type="button" onClick={onClose}>Close</button>
        <button ref={copyButton} type="button" class="primary" onClick={copy}>Copy</button>
      </footer>
    </div>
  );
}

const onboarding = () =>
  `curl -X POST "${location.origin}/access-token/api/v1/process" -H "Authorization: Bearer $ACCESS_KEY" ` +
  `-H "Content-Type: application/json" -d '{"cluster_name":"my-cluster","token":"'"$ACCESS_KEY"'","type":"K8s"}'`;
