// Fields of forms: a label, an input, and a hint or an error.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { Text } from "./text";

export type Errors = Record<string, string>;

export function Required() {
  return <span class="required" aria-hidden="true">*</span>;
}

interface FieldProps {
  label: string;
  isRequired?: boolean;
  error?: string | undefined;
  hint?: ComponentChildren;
  children(props: { id: string; "aria-describedby": string; "aria-invalid": boolean }): ComponentChildren;
}

export function Field({ label, isRequired, error, hint, children }: FieldProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label} {isRequired && <Required />}</label>
      {children({ id, "aria-describedby": `${id}-note`, "aria-invalid": error !== undefined })}
      <p id={`${id}-note`} class={error ? "error" : "hint"} aria-live="polite">{error ? <Text of={error} /> : typeof hint === "string" ? <Text of={hint} /> : hint}</p>
    </div>
  );
}

/** The errors of a form's fields. When they are shown, the first field with an error gets the focus. */
export function useErrors() {
  const form = useRef<HTMLFormElement>(null);
  const [errors, setErrors] = useState<Errors>({});
  const [shown, setShown] = useState(0);
  useEffect(() => form.current?.querySelector<HTMLElement>("[aria-invalid='true']")?.focus(), [shown]);
  const show = (found: Errors) => {
    setErrors(found);
    if (Object.keys(found).length > 0) setShown(shown + 1);
    return Object.keys(found).length > 0;
  };
  /** Removes the errors of fields that the user changes. */
  const clear = (...fields: string[]) => setErrors((all) => Object.fromEntries(Object.entries(all).filter(([field]) => !fields.includes(field))));
  return { form, errors, show, clear };
}

/** The labels in a text that separates them by commas. */
export const labelsOf = (text: string) => text.split(",").map((label) => label.trim()).filter(Boolean);
