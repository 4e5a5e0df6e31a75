// The values that the user has entered into an open form. During a new sign-in, sessionStorage keeps them. They never
// contain a key.

import { useEffect, useState } from "preact/hooks";
import type { Opened } from ".";

const DRAFT = "access-keys.draft";

interface Draft {
  /** The user who entered the values. They are restored only for this user. */
  user: string;
  dialog: Opened;
  fields: unknown;
}

let open: { dialog: Opened; fields: unknown } | undefined;
let restored: unknown;

/** The fields of a form, with initial values, or with the values from before the sign-in. */
export function useFields<T extends object>(dialog: Opened, initial: () => T): [T, (change: Partial<T>) => void] {
  const [fields, setFields] = useState<T>(() => {
    const before = restored as Partial<T> | undefined;
    restored = undefined;
    return { ...initial(), ...before };
  });
  useEffect(() => {
    open = { dialog, fields };
    return () => (open = undefined);
  }, [dialog, fields]);
  return [fields, (change) => setFields((before) => ({ ...before, ...change }))];
}

export function keepDraft(user: string): void {
  sessionStorage.removeItem(DRAFT);
  if (open) sessionStorage.setItem(DRAFT, JSON.stringify({ user, ...open } satisfies Draft));
}

/** The dialog that was open before the sign-in, if the same user has signed in again. */
export function takeDraft(user: string): Opened | undefined {
  const stored = sessionStorage.getItem(DRAFT);
  sessionStorage.removeItem(DRAFT);
  if (!stored) return undefined;
  const draft = JSON.parse(stored) as Draft;
  if (draft.user !== user) return undefined;
  restored = draft.fields;
  return draft.dialog;
}
