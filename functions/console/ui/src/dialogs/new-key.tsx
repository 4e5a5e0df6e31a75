// A new access key, which is shown only once: the result of creating and of rotating a key.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import type { CreatedKey } from "../api";
import { Command, copied } from "../parts/copy";
import { Icon } from "../parts/icons";
import { ROLE_NAMES, canOnboard } from "../roles";
import { useGuard } from "../route";
import { useSession } from "../session";
import { Text } from "../parts/text";
import { Moment } from "../parts/time";

const ONCE = "This access key will only be shown once. Copy it now and store it in a safe, secure location.";

/** Shown instead of a hidden key, so that the document does not contain the key. */
const MASK = "•".repeat(40);

/** The state of a dialog with a new key. Until the key is copied, the user must confirm that it will be lost. */
export function useNewKey(onClose: () => void) {
  const [key, setKey] = useState<CreatedKey>();
  const [isKept, setKept] = useState(false);
  const [isWarned, setWarned] = useState(false);
  const { say } = useSession();
  const warn = () => {
    // A message must not cover the warning.
    say("");
    setWarned(true);
  };
  useGuard(key !== undefined && !isKept, warn);
  return { key, setKey, isKept, keep: () => setKept(true), isWarned, setWarned, close: key && !isKept ? warn : onClose, discard: onClose };
}

type NewKeyState = ReturnType<typeof useNewKey>;

export function NewKey({ created, state, children }: { created: CreatedKey; state: NewKeyState; children?: ComponentChildren }) {
  const { say } = useSession();
  const id = useId();
  const input = useRef<HTMLInputElement>(null);
  const copyButton = useRef<HTMLButtonElement>(null);
  const closeButton = useRef<HTMLButtonElement>(null);
  const [isShown, setShown] = useState(false);
  const [isBlocked, setBlocked] = useState(false);
  useEffect(() => {
    if (state.isWarned) return;
    copyButton.current?.closest("dialog")?.scrollTo(0, 0);
    copyButton.current?.focus({ preventScroll: true });
  }, [state.isWarned]);
  useEffect(() => {
    if (isShown) input.current?.select();
  }, [isShown]);
  const keep = () => {
    state.keep();
    state.setWarned(false);
  };
  const copy = async () => {
    if (await copied(created.access_key)) {
      keep();
      say("Token copied to clipboard");
      closeButton.current?.focus();
      return;
    }
    setBlocked(true);
    setShown(true);
    input.current?.focus();
    input.current?.select();
  };
  return (
    <div class="result">
      <div class="field">
        <label for={id}>Access Key</label>
        <span class="with-button">
          <input
            ref={input}
            id={id}
            class="secret"
            translate={false}
            value={isShown ? created.access_key : MASK}
            readOnly
            autocomplete="off"
            spellcheck={false}
            onCopy={({ currentTarget: { selectionStart, selectionEnd } }) => {
              if (isShown && selectionEnd! - selectionStart! === created.access_key.length) keep();
            }}
          />
          <button type="button" class="quiet" aria-pressed={isShown} aria-label="Show the key" onClick={() => setShown(!isShown)}>
            <Icon name={isShown ? "hidden" : "eye"} />
          </button>
        </span>
        {isBlocked && !state.isKept && <p class="error" role="alert">The browser does not allow this page to copy. The key is selected: press Ctrl+C or ⌘C.</p>}
      </div>
      <p class="notice"><Icon name="key" /> <span>{ONCE}</span></p>
      <dl>
        <div><dt>Name</dt><dd>{created.name}</dd></div>
        <div><dt>Role</dt><dd>{ROLE_NAMES[created.role]}</dd></div>
        <div><dt>Expires</dt><dd><Moment at={new Date(created.expires_at)} /></dd></div>
        <div><dt>Maximum number of clusters</dt><dd>{canOnboard(created.role) ? created.max_clusters : "–"}</dd></div>
      </dl>
      {children}
      <Uses of={created} />
      {state.isWarned ? (
        <Warning text="You have not copied the key. It cannot be shown again." back="Back to the key" leave="Close without the key" onBack={() => state.setWarned(false)} onLeave={state.discard} />
      ) : (
        <footer>
          <button ref={closeButton} type="button" class={state.isKept ? "primary" : undefined} onClick={state.close}>Close</button>
          <button ref={copyButton} type="button" class={state.isKept ? undefined : "primary"} onClick={copy}><Text of={state.isKept ? "Copied" : "Copy"} /></button>
        </footer>
      )}
    </div>
  );
}

interface WarningProps {
  text: string;
  back: string;
  leave: string;
  onBack(): void;
  onLeave(): void;
}

/** Replaces the buttons of a dialog, and asks the user before something is lost. */
export function Warning({ text, back, leave, onBack, onLeave }: WarningProps) {
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => button.current?.focus(), []);
  return (
    <footer class="warning">
      <p role="alert">{text}</p>
      <button ref={button} type="button" onClick={onBack}>{back}</button>
      <button type="button" class="danger" onClick={onLeave}>{leave}</button>
    </footer>
  );
}

function Uses({ of: created }: { of: CreatedKey }) {
  const { origin, host } = location;
  return (
    <details>
      <summary>Use it</summary>
      <Command title="Set an environment variable without leaving the key in the shell's history: run this command, paste the key, and press Enter" text="read -rs ACCESS_KEY && export ACCESS_KEY" />
      <Command title="Check it with curl" text={`curl -X POST "${origin}/v1/access-keys/validate" -H "Authorization: Bearer $ACCESS_KEY"`} />
      {canOnboard(created.role) && (
        <>
          <Command title="Onboard a cluster with curl" text={onboarding(origin)} />
          <Command title="Install AccuKnox's agents with Helm: add this to your command" text={`--set tokenURL=${host} --set accessKey="$ACCESS_KEY" --set clusterName=my-cluster`} />
          <Command title="Onboard a machine with knoxctl: add your other flags" text={`knoxctl onboard vm cp-node --access-key-url=${host} --access-key="$ACCESS_KEY" --cp-name=machines`} />
        </>
      )}
    </details>
  );
}

const onboarding = (origin: string) =>
  `curl -X POST "${origin}/access-token/api/v1/process" -H "Authorization: Bearer $ACCESS_KEY" ` +
  `-H "Content-Type: application/json" -d '{"cluster_name":"my-cluster","token":"'"$ACCESS_KEY"'","type":"K8s"}'`;
