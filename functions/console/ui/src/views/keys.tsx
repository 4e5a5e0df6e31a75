// Access Keys: all keys of the tenant for administrators, and their own keys for others. The URL names the filters.

import { useCallback, useMemo } from "preact/hooks";
import { type Key, keysPath } from "../api";
import { Choice, ClearFilters, Person, SearchField, TextFilter } from "../parts/filters";
import { Fold } from "../parts/fold";
import { KeyTable, takeKeys } from "../parts/key-table";
import { Pager, Placeholder, useList } from "../parts/list";
import { ROLE_NAMES, can } from "../roles";
import { type Place } from "../route";
import { useSession } from "../session";
import { inSeconds } from "../parts/time";

const ROWS = 20;
const STATUSES = { active: "Neither expired nor revoked", expired: "Expired", revoked: "Revoked" };
const EXPIRING = { 1: "1 day", 7: "7 days", 30: "30 days" };
const UNUSED = { 7: "7 days", 30: "30 days", 90: "90 days" };
/** The filters that are passed from the URL to the API unchanged. */
const SAME = ["q", "status", "role", "owner", "created_by", "label"];
const FILTERS = [...SAME.slice(1), "expires", "unused"];

export function Keys({ place: { query } }: { place: Place }) {
  const { me, open } = useSession();
  const isAdmin = can(me, "access-keys:manage");
  const text = query.toString();
  const { owner, ...filter } = useMemo(() => apiQuery(new URLSearchParams(text), isAdmin), [text, isAdmin]);
  // The list of one user is read directly, and not from the list of the tenant.
  const listed = isAdmin ? owner : me.id;
  const isFiltered = Object.keys(filter).length > 0 || owner !== undefined;
  const take = useCallback(takeKeys(listed, isFiltered), [listed, isFiltered]);
  const keys = useList<Key>(listed ? keysPath(listed) : "/v1/access-keys", filter, { size: ROWS, take });
  const title = isAdmin ? "Access Keys" : "My access keys";
  const create = () => open({ what: "create-key", owner: isAdmin ? undefined : me });
  return (
    <section data-focus tabIndex={-1}>
      <div class="title">
        <h1 tabIndex={-1}>{title}</h1>
        <button type="button" onClick={() => open({ what: "found-key" })}>Found a key?</button>
        <button type="button" class="primary" onClick={create}>Create key</button>
      </div>
      <Filters query={query} isAdmin={isAdmin} />
      {keys.rows.length > 0 && <KeyTable label={title} keys={keys.rows} hasOwners={isAdmin} />}
      <Placeholder list={keys} what="keys" empty={isFiltered ? "No key matches." : "There are no access keys yet. Create one to give a command line, a pipeline or a cluster agent access."} />
      <Pager of={keys.page} what="access keys" />
    </section>
  );
}

/** The filter `owner` is only for administrators, because others see only their own keys. */
function apiQuery(query: URLSearchParams, isAdmin: boolean): Record<string, string> {
  const filter: Record<string, string> = {};
  for (const name of SAME) {
    const value = query.get(name);
    if (value && (isAdmin || name !== "owner")) filter[name] = value;
  }
  const [expires, unused] = [query.get("expires") ?? "", query.get("unused") ?? ""];
  if (Object.hasOwn(EXPIRING, expires)) filter.expires_before = `${inSeconds(Number(expires) * 86_400).toISOString().slice(0, 19)}Z`;
  if (Object.hasOwn(UNUSED, unused)) filter.unused_for = unused;
  return filter;
}

function Filters({ query, isAdmin }: { query: URLSearchParams; isAdmin: boolean }) {
  const set = FILTERS.filter((name) => query.get(name)).length;
  return (
    <div class="toolbar" role="search">
      <SearchField label="Search keys" placeholder="Search by name or id" query={query} />
      <Fold class="filters" summary="Filters" isOpen={set > 0}>
        <div>
          <Choice name="status" label="Status" options={STATUSES} query={query} />
          <Choice name="role" label="Role" options={ROLE_NAMES} query={query} />
          <Choice name="expires" label="Expires within" options={EXPIRING} query={query} also={{ status: "active" }} />
          <Choice name="unused" label="Unused for" options={UNUSED} query={query} />
          <TextFilter name="label" label="Label" query={query} />
          {isAdmin && <Person name="owner" label="Owner" query={query} prefix="" />}
          {isAdmin && <Person name="created_by" label="Created by" query={query} prefix="user:" />}
          {set > 0 && <ClearFilters names={FILTERS} />}
        </div>
      </Fold>
    </div>
  );
}
