// A part of a page or a form that can be folded.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

interface Props {
  summary: string;
  class?: string;
  /** Whether it is open at first. */
  isOpen: boolean;
  children: ComponentChildren;
}

export function Fold({ summary, class: name, isOpen, children }: Props) {
  const [open, setOpen] = useState(isOpen);
  return (
    <details class={name} open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{summary}</summary>
      {children}
    </details>
  );
}
