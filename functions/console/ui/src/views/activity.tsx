// Activity: the audit trail of the tenant, and of one target.

import { type AuditAction, type AuditEntry } from "../api";
import { Choice, ClearFilters, DayFilter, Person } from "../parts/filters";
import { Pager, Placeholder, useList } from "../parts/list";
import { Who } from "../parts/person";
import { type Place, href, keyHref } from "../route";
import { Cell, Table } from "../parts/table";
import { Time } from "../parts/time";

const ROWS = 20;

const ACTIONS: Record<AuditAction, string> = {
  "access-key.created": "Key created",
  "access-key.reissued": "Key reissued after a retry",
  "access-key.rotated": "Key rotated",
  "access-key.changed": "Key changed",
  "access-key.revoked": "Key revoked",
  "access-key.expiring": "Notice: key will expire",
  "access-key.expired": "Notice: key has expired",
  "access-key.unused": "Notice: key is unused",
  "user.created": "User created",
  "user.changed": "User changed",
  "user.deactivated": "User deactivated",
  "user.reactivated": "User reactivated",
  "user.deleted": "User deleted",
  "user.keys-revoked": "All keys of a user revoked",
  "cluster.onboarded": "Cluster onboarded",
  "cluster.deleted": "Cluster deleted",
  "join-token.replayed": "Join token presented again",
};

const FILTERS = ["actor", "target", "action", "from", "to"];

export function Activity({ place: { query } }: { place: Place }) {
  const filter: Record<string, string> = {};
  for (const name of FILTERS) {
    const value = query.get(name);
    // The inputs contain days in UTC. The filter includes all of the last day.
    if (value) filter[name] = name === "from" ? `${value}T00:00:00Z` : name === "to" ? dayAfter(value) : value;
  }
  const target = query.get("target");
  return (
    <section data-focus tabIndex={-1}>
      <div class="title"><h1 tabIndex={-1}>Activity</h1></div>
      <div class="filters row" role="search">
        <Person name="actor" label="Who" query={query} prefix="user:" />
        <Choice name="action" label="What" options={ACTIONS} query={query} />
        <DayFilter name="from" label="From (UTC)" query={query} />
        <DayFilter name="to" label="To (UTC)" query={query} />
        {Object.keys(filter).length > 0 && <ClearFilters names={FILTERS} />}
      </div>
      {target && <p>Only changes to <code translate={false}>{target}</code></p>}
      <Entries label="Activity" filter={filter} />
    </section>
  );
}

function dayAfter(day: string): string {
  const at = new Date(`${day}T00:00:00Z`);
  return Number.isNaN(at.getTime()) ? day : `${new Date(at.getTime() + 86_400_000).toISOString().slice(0, 10)}T00:00:00Z`;
}

/** Reloads the entries after every change, because every change adds an entry. */
const readAgain = () => "reload" as const;

/** Entries of the audit trail, newest first. */
export function Entries({ label, filter }: { label: string; filter: Record<string, string> }) {
  const entries = useList<AuditEntry>("/v1/audit", filter, { size: ROWS, take: readAgain });
  return (
    <section data-focus tabIndex={-1} aria-label={label}>
      {entries.rows.length > 0 && (
        <Table label={label} columns={["What", "Target", "Who", "Details", "When"]}>
          {entries.rows.map((entry) => (
            <tr key={entry.id} role="row">
              <Cell column="What" kind="heading"><b>{ACTIONS[entry.action]}</b></Cell>
              <Cell column="Target"><Target of={entry} /></Cell>
              <Cell column="Who"><Who is={entry.actor} /><br /><small>{entry.source_ip}</small></Cell>
              <Cell column="Details"><Details of={entry} /></Cell>
              <Cell column="When"><Time at={entry.time} /></Cell>
            </tr>
          ))}
        </Table>
      )}
      <Placeholder list={entries} what="entries" empty="No activity matches." />
      <Pager of={entries.page} what="entries" />
    </section>
  );
}

function Target({ of: { target, changes, details } }: { of: AuditEntry }) {
  const name = String(changes.name?.after ?? details.name ?? "");
  if (target.kind === "access_key" && target.user_id) {
    return <><a href={keyHref({ user_id: target.user_id, id: target.id })}>{name || `Key …${target.id.slice(-8)}`}</a><br /><small>of {target.user_id}</small></>;
  }
  return <><a href={href(["activity"], { target: `${target.kind}:${target.id}` })}>{name || target.id}</a><br /><small>{target.kind === "user" ? (name ? target.id : "User") : "Cluster"}</small></>;
}

function Details({ of: { changes, reason, recorded_at } }: { of: AuditEntry }) {
  const show = (value: unknown) => (Array.isArray(value) ? value.join(", ") || "–" : String(value ?? "–").replace(/^(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\dZ$/, "$1 $2 UTC"));
  const lines = Object.entries(changes).filter(([field]) => field !== "name").map(([field, { before, after }]) =>
    `${field.replaceAll("_", " ")}: ${before === undefined ? show(after) : `${show(before)} → ${show(after)}`}`);
  return (
    <ul class="plain">
      {reason && <li>{`Reason: ${reason}`}</li>}
      {lines.map((line) => <li key={line}><small>{line}</small></li>)}
      {recorded_at && <li><small>Recorded later, <Time at={recorded_at} /></small></li>}
    </ul>
  );
}
