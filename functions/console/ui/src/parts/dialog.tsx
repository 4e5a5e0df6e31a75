// Modal dialogs, based on <dialog>. The browser keeps the focus inside, and returns it when the dialog closes.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { ApiError, message } from "../api";
import { publish } from "../changes";
import { Icon } from "./icons";
import { mayLeave, useGuard } from "../route";
import { useSession } from "../session";
import { Text } from "./text";
import { Announcements } from "./toast";

interface DialogProps {
  title: string;
  onClose(): void;
  /** Whether the dialog has a field with `autofocus`. Otherwise, the title gets the focus. */
  hasFocus?: boolean;
  children: ComponentChildren;
}

export function Dialog({ title, onClose, hasFocus, children }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useLayoutEffect(() => {
    const dialog = ref.current;
    dialog?.showModal();
    // An element that is removed takes the focus with it, and then the keyboard would reach only the page behind.
    const observer = new MutationObserver(() => document.activeElement === document.body && dialog?.focus({ preventScroll: true }));
    if (dialog) observer.observe(dialog, { childList: true, subtree: true });
    return () => {
      observer.disconnect();
      dialog?.close();
      // If the element to which the focus would return is gone, the heading of the view gets it.
      setTimeout(() => document.activeElement === document.body && document.querySelector<HTMLElement>("main h1")?.focus());
    };
  }, []);
  return (
    <dialog
      ref={ref}
      closedby="none"
      tabIndex={-1}
      aria-labelledby={id}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.preventDefault();
        // While text is composed, Escape ends the composition.
        if (!event.isComposing && event.keyCode !== 229) onClose();
      }}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <header>
        <h2 id={id} tabIndex={-1} autofocus={!hasFocus}>{title}</h2>
        <button type="button" class="quiet" aria-label="Close dialog" onClick={onClose}><Icon name="close" /></button>
      </header>
      <SessionEnded />
      {children}
      <Announcements />
    </dialog>
  );
}

/** Says that the session has ended. Each dialog has its own, because the page behind a modal dialog cannot be used. */
export function SessionEnded() {
  const { hasEnded, signInAgain } = useSession();
  if (!hasEnded) return null;
  return (
    <div class="banner" role="alert">
      <p>Your session has ended.</p>
      <button type="button" class="primary" onClick={signInAgain}>Sign in again</button>
    </div>
  );
}

/** The state of a dialog's request. While it runs, the dialog stays, because the request cannot be cancelled. */
export function useRequest() {
  const { say } = useSession();
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const [wait, setWait] = useState(0);
  useGuard(isBusy, () => say("Wait for the response. The request was sent and cannot be cancelled."));
  useEffect(() => {
    if (wait === 0) return;
    const timer = setTimeout(() => setWait(wait - 1), 1000);
    return () => clearTimeout(timer);
  }, [wait]);
  const send = async (request: () => Promise<void>, onFailure?: (failure: unknown) => string | undefined) => {
    if (isBusy || wait > 0) return;
    setBusy(true);
    setError(undefined);
    try {
      await request();
    } catch (failure) {
      const isUncertain = failure instanceof ApiError && failure.isUncertain;
      setError(onFailure ? onFailure(failure) : message(failure) + (isUncertain ? " The request may still have taken effect." : ""));
      if (isUncertain) publish({ what: "unknown" });
      if (failure instanceof ApiError && failure.retryAfter) setWait(Math.ceil(failure.retryAfter));
    }
    setBusy(false);
  };
  return { isBusy, wait, error, send };
}

interface ConfirmProps extends DialogProps {
  action: string;
  /** The text of the button while the request runs. */
  busy: string;
  isDestructive?: boolean;
  onConfirm(): Promise<void>;
}

/** Asks the user to confirm an action. `onConfirm` closes the dialog. If it fails, the dialog stays and shows why. */
export function Confirm({ title, action, busy, isDestructive, hasFocus, onConfirm, onClose, children }: ConfirmProps) {
  const { isBusy, wait, error, send } = useRequest();
  const close = () => mayLeave() && onClose();
  const confirm = (event: Event) => {
    event.preventDefault();
    send(onConfirm);
  };
  return (
    <Dialog title={title} hasFocus={hasFocus} onClose={close}>
      <form onSubmit={confirm}>
        {children}
        {error && <p key={error} class="error" role="alert">{error}</p>}
        <FormButtons label={isBusy ? busy : action} isDestructive={isDestructive} isBusy={isBusy} wait={wait} onCancel={close} />
      </form>
    </Dialog>
  );
}

interface SubmitProps {
  label: string;
  isDestructive?: boolean | undefined;
  isBusy: boolean;
  /** The seconds until the service accepts the next attempt. */
  wait: number;
  disabled?: boolean;
}

/** The buttons of a form that can be cancelled until it is sent. */
export function FormButtons({ onCancel, ...submit }: SubmitProps & { onCancel(): void }) {
  return (
    <footer>
      <button type="button" aria-disabled={submit.isBusy} onClick={onCancel}>Cancel</button>
      <SubmitButton {...submit} />
    </footer>
  );
}

export function SubmitButton({ label, isDestructive, isBusy, wait, disabled }: SubmitProps) {
  return (
    <button type="submit" class={isDestructive ? "danger" : "primary"} aria-disabled={isBusy || wait > 0} disabled={disabled}>
      <Text of={wait > 0 ? `${label} (in ${wait} s)` : label} />
    </button>
  );
}
