// A list from the API. It is read with cursors, as far as needed for the page that is shown.

import { useEffect, useState } from "preact/hooks";
import { ApiError, type Page, message } from "../api";
import { type KnownChange, subscribe } from "../changes";
import { useSession } from "../session";
import { Text, count } from "./text";

const READ_AT_ONCE = 50;

export type Failure = { text: string; status: number; retryAfter: number | undefined };

const LONGEST_WAIT = 60;

/** How a request failed. If the service says when to try again, the page waits that long, and longer each time. */
function failure(error: unknown, failures: number): Failure {
  const wait = error instanceof ApiError ? error.retryAfter : undefined;
  return { text: message(error), status: error instanceof ApiError ? error.status : 0, retryAfter: wait && Math.max(wait, Math.min(2 ** failures, LONGEST_WAIT)) };
}

interface State {
  /** The rows of the page that is shown. */
  rows: unknown[];
  isLoading: boolean;
  error: Failure | undefined;
  reload(): void;
  /** How many records the service has examined, if they are more than it has returned. */
  searched?: number;
  /** How many damaged records the service has left out. */
  skipped?: number;
}

interface List<T> extends State {
  rows: T[];
  page: PageOfList;
}

interface PageOfList {
  size: number;
  first: number;
  last: number;
  known: number;
  isComplete: boolean;
  isLoading: boolean;
  go(step: -1 | 1): void;
}

interface Options<T> {
  /** The number of rows of a page. */
  size: number;
  /** Applies a change: returns the new items, or `reload`. */
  take(change: KnownChange, items: T[]): T[] | "reload";
}

interface Read<T> {
  /** The URL without the cursor. When it changes, the list begins again. */
  source: string;
  items: T[];
  cursor: string | null;
  examined: number;
  skipped: number;
  error: Failure | undefined;
  /** How many requests have failed since the last one that succeeded. */
  failures: number;
  page: number;
  attempt: number;
}

const begin = <T,>(source: string, attempt = 0, failures = 0): Read<T> => ({ source, items: [], cursor: "", examined: 0, skipped: 0, error: undefined, failures, page: 0, attempt });

/** Lists what the API returns for a path and a query, without a limit or a cursor. */
export function useList<T extends { id: unknown }>(path: string, query: Record<string, string>, { size, take }: Options<T>): List<T> {
  const { api } = useSession();
  const source = `${path}?${new URLSearchParams({ ...query, limit: String(READ_AT_ONCE) })}`;
  const [state, setState] = useState(() => begin<T>(source));
  const read = state.source === source ? state : begin<T>(source);
  const { items, cursor, error, attempt } = read;

  const isLoading = cursor !== null && !error && items.length <= (read.page + 1) * size;
  useEffect(() => {
    if (!isLoading) return;
    const aborter = new AbortController();
    const change = (next: (before: Read<T>) => Partial<Read<T>>) => setState((all) => {
      const before = all.source === source ? all : begin<T>(source);
      return { ...before, ...next(before) };
    });
    api.get<Page<T>>(source + (cursor ? `&cursor=${cursor}` : ""), aborter.signal).then(
      (answer) => change((before) => {
        // A key that was created in this page may be on top already.
        const ids = new Set(before.items.map(({ id }) => id));
        return {
          items: [...before.items, ...answer.items.filter(({ id }) => !ids.has(id))],
          cursor: answer.next_cursor,
          examined: before.examined + (answer.examined ?? answer.items.length),
          skipped: before.skipped + (answer.skipped ?? 0),
          failures: 0,
        };
      }),
      (reason) => aborter.signal.aborted || change((before) => ({ error: failure(reason, before.failures), failures: before.failures + 1 })),
    );
    return () => aborter.abort();
  }, [api, source, isLoading, cursor, attempt]);

  const reload = () => setState(begin(source, attempt + 1, read.failures));
  useEffect(() => subscribe((change) => setState((all) => {
    if (all.source !== source) return all;
    const next = change.what === "unknown" ? "reload" : take(change, all.items);
    return next === "reload" ? begin(source, all.attempt + 1) : { ...all, items: next };
  })), [source, take]);

  const page = Math.min(read.page, Math.max(0, Math.ceil(items.length / size) - 1));
  const rows = items.slice(page * size, (page + 1) * size);
  return {
    rows,
    isLoading,
    error,
    reload,
    searched: read.examined > items.length ? read.examined : undefined,
    skipped: read.skipped,
    page: {
      size,
      first: page * size + 1,
      last: page * size + rows.length,
      known: items.length,
      isComplete: cursor === null,
      isLoading,
      go: (step) => setState({ ...read, page: page + step }),
    },
  };
}

/** The position in a list, and buttons to change the page. Shown only if the list has more than one page. */
export function Pager({ of: { size, first, last, known, isComplete, isLoading, go }, what }: { of: PageOfList; what: string }) {
  if (known === 0 || (isComplete && known <= size)) return null;
  const [isFirst, isLast] = [first === 1, last >= known && (isComplete || isLoading)];
  // The buttons stay enabled, because a disabled button loses the focus.
  return (
    <nav class="pager" aria-label={`Pages of ${what}`}>
      <span role="status"><Text of={`${first}–${last} of ${isComplete ? known.toLocaleString("en-US") : `at least ${known.toLocaleString("en-US")}`}`} /></span>
      <button type="button" aria-disabled={isFirst} onClick={() => isFirst || go(-1)}>Previous</button>
      <button type="button" aria-disabled={isLast} onClick={() => isLast || go(1)}>Next</button>
    </nav>
  );
}

interface PlaceholderProps {
  list: State;
  empty: string;
  /** The plural of what the list contains. */
  what?: string;
}

/** Shown below the rows: that they are loading, cannot be read or do not exist, and the progress of a search. */
export function Placeholder({ list, empty, what = "records" }: PlaceholderProps) {
  const { rows, isLoading, error, searched, skipped, reload } = list;
  if (error) return <Problem error={error} reload={reload} />;
  const isLong = searched !== undefined && searched > READ_AT_ONCE;
  const notes = [
    isLoading && isLong ? `Searched ${searched.toLocaleString("en-US")} ${what} so far…` : "",
    !isLoading && isLong && rows.length === 0 ? `Searched ${searched.toLocaleString("en-US")} ${what}.` : "",
    skipped ? `${count(skipped, "damaged record")} left out. See the service's log for details.` : "",
  ].filter(Boolean).join(" ");
  // Always rendered, because screen readers announce changes only in a live region that already exists.
  return (
    <div role="status">
      {rows.length === 0 && (isLoading ? <Skeleton /> : <p key={empty} class="placeholder">{empty}</p>)}
      <p class="hint"><Text of={notes} /></p>
    </div>
  );
}

/** Shows why a request failed. If the service has said when to try again, does so automatically. */
export function Problem({ error: { text, retryAfter }, reload }: { error: Failure; reload(): void }) {
  const [left, setLeft] = useState(retryAfter ?? 0);
  useEffect(() => {
    if (retryAfter === undefined) return;
    const timer = setTimeout(() => (left > 1 ? setLeft(left - 1) : reload()), 1000);
    return () => clearTimeout(timer);
  }, [left, retryAfter]);
  const again = (event: Event) => {
    // The button disappears, so the focus moves first.
    (event.currentTarget as HTMLElement).closest<HTMLElement>("[data-focus], dialog")?.focus();
    reload();
  };
  return (
    <div class="placeholder" role="alert">
      <p><Text of={text} /></p>
      {retryAfter !== undefined && <p class="hint" aria-live="off"><Text of={`Trying again in ${count(left, "second")}.`} /></p>}
      <button type="button" onClick={again}>Try again</button>
    </div>
  );
}

/** Grey bars in the place of rows that are loading. */
export function Skeleton() {
  return (
    <div class="skeleton">
      <span class="unseen">Loading…</span>
      <i /><i /><i />
    </div>
  );
}

interface Loaded<T> {
  path: string;
  value?: T;
  error?: Failure;
  failures: number;
  attempt: number;
}

/** A single object from the API. While it is read again, its last value stays. */
export function useObject<T>(path: string): { value: T | undefined; error: Failure | undefined; reload(): void; set(value: T): void } {
  const { api } = useSession();
  const [state, setState] = useState<Loaded<T>>({ path, failures: 0, attempt: 0 });
  const current: Loaded<T> = state.path === path ? state : { path, failures: 0, attempt: 0 };
  const { value, error, attempt } = current;
  const change = (next: (before: Loaded<T>) => Partial<Loaded<T>>) => setState((all) => {
    const before = all.path === path ? all : { path, failures: 0, attempt: 0 };
    return { ...before, ...next(before) };
  });
  useEffect(() => {
    const aborter = new AbortController();
    api.get<T>(path, aborter.signal).then(
      (value) => change(() => ({ value, error: undefined, failures: 0 })),
      (reason) => aborter.signal.aborted || change(({ failures }) => ({ value: undefined, error: failure(reason, failures), failures: failures + 1 })),
    );
    return () => aborter.abort();
  }, [api, path, attempt]);
  return {
    value,
    error,
    reload: () => change(({ attempt }) => ({ error: undefined, attempt: attempt + 1 })),
    set: (value) => change(() => ({ value })),
  };
}
