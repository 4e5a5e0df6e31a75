// Tables that turn into cards on narrow screens. The roles are spelled out, because some browsers forget what a table
// is once it is laid out as something else.

import type { ComponentChildren } from "preact";

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

/** A row below another one, over its whole width, with what belongs to it. */
export function DetailRow({ id, columns, children }: { id: string; columns: number; children: ComponentChildren }) {
  return <tr role="row" class="detail"><td role="cell" id={id} colSpan={columns}>{children}</td></tr>;
}

export function Status({ of: status }: { of: string }) {
  return <span class={status === "active" ? "status good" : "status"}>{status.charAt(0).toUpperCase() + status.slice(1)}</span>;
}
