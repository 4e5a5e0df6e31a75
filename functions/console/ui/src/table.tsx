// Tables that turn into cards on narrow screens. The ARIA roles are explicit, because some browsers drop the implicit
// roles of a table that is not laid out as a table.

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

/** A cell. On a narrow screen, the name of its column precedes it. */
export function Cell({ column, kind, children }: { column: string; kind?: "toggle" | "actions"; children: ComponentChildren }) {
  return <td role="cell" data-column={kind ? undefined : column} class={kind}>{children}</td>;
}

/** Which rows are expanded to show their details. */
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

/** The cell with the chevron that expands a row. */
export function ToggleCell({ column, label, controls, isOpen, onToggle }: ToggleProps) {
  return (
    <Cell column={column} kind="toggle">
      <button type="button" class="quiet chevron" aria-label={label} aria-expanded={isOpen} aria-controls={controls} onClick={onToggle}>
        <Icon name="chevron" />
      </button>
    </Cell>
  );
}

/** A full-width row below another row, with the details of that row. */
export function DetailRow({ id, columns, children }: { id: string; columns: number; children: ComponentChildren }) {
  return <tr role="row" class="detail"><td role="cell" id={id} colSpan={columns}>{children}</td></tr>;
}

export function Status({ of: status }: { of: string }) {
  return <span class={status === "active" ? "status good" : "status"}>{status.charAt(0).toUpperCase() + status.slice(1)}</span>;
}
