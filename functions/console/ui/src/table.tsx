// Tables that turn into cards on narrow screens. The roles are spelled out, because some browsers forget what a table
// is once it is laid out as something else.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Icon } from "./icons";

export function Table({ label, columns, children }: { label: string; columns: string[]; children: ComponentChildren }) {
  return (
    <table role="table" aria-label={label}>
      <thead role="rowgroup">
        <tr role="row">
          {columns.map((column) => (
            <th key={column} role="columnheader" scope="col" class={column === "Actions" ? "actions" : undefined}>{column}</th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">{children}</tbody>
    </table>
  );
}

/** A cell; on a narrow screen its column's name stands before it. */
export function Cell({ column, kind, children }: { column: string; kind?: "toggle" | "actions"; children: ComponentChildren }) {
  return <td role="cell" data-column={kind ? undefined : column} class={kind}>{children}</td>;
}

/** Which rows are open to what belongs to them. */
export function useOpenRows<Id>() {
  const [ids, setIds] = useState<Id[]>([]);
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

/** The cell with the chevron that opens a row. */
export function ToggleCell({ column, label, controls, isOpen, onToggle }: ToggleProps) {
  return (
    <Cell column={column} kind="toggle">
      <button type="button" class="quiet chevron" aria-label={label} aria-expanded={isOpen} aria-controls={controls} onClick={onToggle}>
        <Icon name="chevron" />
      </button>
    </Cell>
  );
}

/** A row below another one, over its whole width, with what belongs to it. */
export function DetailRow({ id, columns, children }: { id: string; columns: number; children: ComponentChildren }) {
  return <tr role="row" class="detail"><td role="cell" id={id} colSpan={columns}>{children}</td></tr>;
}

export function Status({ of: status }: { of: string }) {
  return <span class={status === "active" ? "status good" : "status"}>{status.charAt(0).toUpperCase() + status.slice(1)}</span>;
}
