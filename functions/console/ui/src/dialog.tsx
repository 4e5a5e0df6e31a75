// Modal dialogs, based on <dialog>. The browser keeps the focus inside, and returns it when the dialog closes.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { message } from "./api";
import { Icon } from "./icons";
import { Announcements } from "./toast";

interface DialogProps {
  title: string;
  onClose(): void;
  children: ComponentChildren;
}

export function Dialog({ title, onClose, children }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useLayoutEffect(() => {
    const dialog = ref.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={ref}
      closedby="none"
      aria-labelledby={id}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.preventDefault();
        onClose();
      }}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <header>
        <h2 id={id}>{title}</h2>
        <button type="button" class="quiet" aria-label="Close dialog" onClick={onClose}><Icon name="close" /></button>
      </header>
      {children}
      <Announcements />
    </dialog>
  );
}

/** A heading that gets the focus when a dialog has removed the element to which the focus would return. */
export function useFocusAfterRemoval() {
  const heading = useRef<HTMLHeadingElement>(null);
  const [removals, setRemovals] = useState(0);
  // Runs after the dialog has closed, because until then no element outside the dialog can get the focus.
  useEffect(() => {
    if (removals > 0) heading.current?.focus();
  }, [removals]);
  return { heading, noteRemoval: () => setRemovals(removals + 1) };
}

interface ConfirmProps extends DialogProps {
  action: string;
  isDestructive?: boolean;
  onConfirm(): Promise<void>;
}

/** Asks the user to confirm an action. `onConfirm` closes the dialog. If it fails, the dialog stays and shows why. */
export function Confirm({ title, action, isDestructive, onConfirm, onClose, children }: ConfirmProps) {
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const confirm = async (event: Event) => {
    event.preventDefault();
    if (isBusy) return;
    setBusy(true);
    setError(undefined);
    try {
      await onConfirm();
    } catch (failure) {
      setError(message(failure));
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form onSubmit={confirm}>
        {children}
        {error && <p class="error" role="alert">{error}</p>}
        <footer>
          <button type="button" onClick={onClose}>Cancel</button>
          <button type="submit" class={isDestructive ? "danger" : "primary"} aria-disabled={isBusy}>{action}</button>
        </footer>
      </form>
    </Dialog>
  );
}
