// Tables that turn into cards where they are narrow. The ARIA roles are explicit, because some browsers drop the
// implicit roles of a table that is not laid out as a table.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Icon } from "./icons";

export function Table({ label, columns, children }: { label: string; columns: string[]; children: ComponentChildren }) {
  return (
    <div class="table">
      <table role="table" aria-label={label}>
        <thead role="rowgroup">
          <tr role="row">
            {columns.map((column) => (
              <th key={column} role="columnheader" scope="col" class={column === "Actions" ? "actions" : undefined}>
                {column === "Actions" ? <span class="unseen">{column}</span> : column}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">{children}</tbody>
      </table>
    </div>
  );
}

interface CellProps {
  column: string;
  /** `heading` is the first cell of a card, without the name of its column. */
  kind?: "heading" | "toggle" | "actions";
  children: ComponentChildren;
}

/** A cell. In a card, the name of its column precedes it. */
export function Cell({ column, kind, children }: CellProps) {
  return <td role="cell" data-column={kind ? undefined : column} class={kind}>{kind === "toggle" || kind === "actions" ? children : <div>{children}</div>}</td>;
}

/** Which rows are expanded to show their details. */
export function useOpenRows<Id>(first: Id[] = []) {
  const [ids, setIds] = useState<Id[]>(first);
  const isOpen = (id: Id) => ids.includes(id);
  return { isOpen, toggle: (id: Id) => setIds(isOpen(id) ? ids.filter((one) => one !== id) : [...ids, id]) };
}

interface ToggleProps {
  column: string;
  label: string;
  /** The id of the row's details. */
  controls: string;
  isOpen: boolean;
  onToggle(): void;
}

/** The cell with the button that expands a row. */
export function ToggleCell({ column, label, controls, isOpen, onToggle }: ToggleProps) {
  return (
    <Cell column={column} kind="toggle">
      <button type="button" class="quiet chevron" aria-label={label} aria-expanded={isOpen} aria-controls={controls} onClick={onToggle}>
        <Icon name="chevron" />
        <span aria-hidden="true">{column}</span>
      </button>
    </Cell>
  );
}

/** A full-width row below another row, with the details of that row. */
export function DetailRow({ id, columns, children }: { id: string; columns: number; children: ComponentChildren }) {
  return <tr role="row" class="detail"><td role="cell" id={id} colSpan={columns}>{children}</td></tr>;
}

export type Tone = "good" | "warn" | "bad" | "over";

/** A status in a few words. The colour only repeats what the words say. */
export function Status({ of: text, tone }: { of: string; tone: Tone }) {
  return <span key={text} class={`status ${tone}`}>{text}</span>;
}
