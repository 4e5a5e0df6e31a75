// Fields of forms: a label, an input, and a hint or an error.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
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
      <p id={`${id}-note`} key={error ?? "hint"} class={error ? "error" : "hint"} aria-live="polite">{error ?? (typeof hint === "string" ? <Text of={hint} /> : hint)}</p>
    </div>
  );
}

/** A form whose first field with an error gets the focus as soon as there are errors. */
export function useFocusOnError(errors: Errors) {
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => {
    if (Object.keys(errors).length > 0) form.current?.querySelector<HTMLElement>("[aria-invalid='true']")?.focus();
  }, [errors]);
  return form;
}

/** The labels in a text that separates them by commas. */
export const labelsOf = (text: string) => text.split(",").map((label) => label.trim()).filter(Boolean);
